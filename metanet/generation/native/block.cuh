// A thread block: its phases, the geometry of its network, and what it keeps in shared memory.
//
// Every step between two barriers is a function of the thread's number alone, so the same text compiles as C++, where a loop
// over the numbers takes the place of the block (EMULATED): the index arithmetic is tested without a GPU.

#ifdef EMULATED
#include <cmath>
#define DEVICE inline
#define GEOMETRY constexpr
#define PHASE(work)                                         \
  for (int thread = 0; thread < THREADS; ++thread) {        \
    work;                                                   \
  }
struct float4 {
  float x, y, z, w;
};
#else
#define DEVICE __device__ __forceinline__
#define GEOMETRY __host__ __device__ constexpr
#define PHASE(work)               \
  {                               \
    const int thread = threadIdx.x; \
    work;                         \
    __syncthreads();              \
  }
#endif

typedef unsigned char byte;
typedef unsigned int word;

constexpr int DENSE = 16;  // classes, padded
constexpr int QUADS = C / 4;

GEOMETRY int size_after(int size, int layers) { return layers == 0 ? size : size_after((size - 3) / 2 + 1, layers - 1); }
GEOMETRY int height(int l) { return size_after(HEIGHT, l); }  // before layer l; height(DEPTH) after the last
GEOMETRY int width(int l) { return size_after(WIDTH, l); }
GEOMETRY int channels(int l) { return l == 0 ? CIN : C; }
GEOMETRY int units(int l) { return height(l + 1) * width(l + 1) * C; }
GEOMETRY int kernel_at(int l) { return l == 0 ? 0 : kernel_at(l - 1) + 9 * channels(l - 1) * C + C; }
GEOMETRY int bias_at(int l) { return kernel_at(l) + 9 * channels(l) * C; }
constexpr int DENSE_AT = (kernel_at(DEPTH - 1) + 9 * channels(DEPTH - 1) * C + C + 15) / 16 * 16;
constexpr int DENSE_BIAS_AT = DENSE_AT + C * DENSE;
constexpr int WEIGHTS = DENSE_BIAS_AT + DENSE;
GEOMETRY int hidden_at(int l) { return l == 0 ? 0 : hidden_at(l - 1) + IMAGES * units(l - 1); }
constexpr int INPUT = (HEIGHT * WIDTH * CIN + 3) / 4 * 4;
constexpr int FIRST = 9 * CIN * C;  // values of the first kernel

// What a block keeps in shared memory.
struct Shared {
  float weights[WEIGHTS], gradient[WEIGHTS];
  float input[IMAGES * INPUT];
  float hidden[hidden_at(DEPTH)];  // activations; the gradients overwrite them
  float pooled[IMAGES * C], back[IMAGES * C];
  float logits[IMAGES * DENSE], shares[IMAGES * DENSE];
  float partial[SCRATCH * FIRST];
  float losses[IMAGES];
  int hits[IMAGES];
};

struct Row {  // one network's hyperparameters
  float rate, l2reg;
  float scale;     // 1 / (1 - dropout)
  word threshold;  // dropout of 2^16
  int rule;        // 0 sgd, 1 momentum, 2 adam, 3 rmsprop
  word seed;
};

struct Pass {  // what the functions below need to know of a block of images
  int count;       // images that are there
  int tanh;        // activation
  int drop;        // whether dropout is on
  float scale;     // of what is kept
  word threshold;  // below which a half word drops its unit
  word seed, step, first;  // first: number of the first image in its batch
};

DEVICE float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
DEVICE void add4(float4& sum, float number, const float4& v) {
  sum.x += number * v.x, sum.y += number * v.y, sum.z += number * v.z, sum.w += number * v.w;
}
