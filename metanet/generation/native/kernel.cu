// One small CNN a thread block: the CPU kernel's algorithm (kernel.hpp) with weights, gradient and activations in shared
// memory. Compiled at run time (NVRTC), the geometry as macros:
//   HEIGHT WIDTH CIN C DEPTH CLASSES   of the network; C is a multiple of 4
//   IMAGES                             that go through a layer together
//   THREADS                            of a block
//   SCRATCH                            parts into which the first layer's positions are cut for its weight gradient
// A block trains its network for an epoch; the optimizer's moments stay in global memory, which the L2 cache holds.
//
// Every step between two barriers is a function of the thread's number alone, so the same text compiles as C++, where a loop
// over the numbers takes the place of the block (EMULATED): the index arithmetic is tested without a GPU.
// Sums have a fixed order: no atomics.

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

DEVICE word mix(word x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

// 1 / (1 - rate) where the unit is kept, else 0: the same bits as in kernel.hpp.
DEVICE float kept(const Pass& pass, int layer, int image, int unit) {
  if (!pass.drop) return 1.0f;
  const word key = mix(mix(mix(pass.seed + 0x9E3779B9u) ^ pass.step) ^ ((pass.first + image) * 64 + layer));
  const word bits = mix(key + (unit / 32 * 16 + unit % 16) * 0x9E3779B9u);
  const word half = unit / 16 % 2 ? bits >> 16 : bits & 0xFFFFu;
  return half < pass.threshold ? 0.0f : pass.scale;
}

DEVICE float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
DEVICE void add4(float4& sum, float number, const float4& v) {
  sum.x += number * v.x, sum.y += number * v.y, sum.z += number * v.z, sum.w += number * v.w;
}

// ------------------------------------------------------------------------------------------------ phases

DEVICE void read_images(Shared& s, int thread, const byte* images, const int* order, int count) {
  constexpr int PIXELS = HEIGHT * WIDTH * CIN;
  for (int i = thread; i < count * PIXELS; i += THREADS)
    s.input[i / PIXELS * INPUT + i % PIXELS] = images[(long long)order[i / PIXELS] * PIXELS + i % PIXELS] * (2.0f / 255.0f) - 1.0f;
}

// Four positions of a row times four channels a thread; activation and dropout at once.
template <int L>
DEVICE void convolve(Shared& s, int thread, const Pass& pass) {
  constexpr int IN = channels(L), IN_W = width(L), OUT_H = height(L + 1), OUT_W = width(L + 1);
  constexpr int TILES = (OUT_W + 3) / 4;
  const float* x_of = L == 0 ? s.input : s.hidden + hidden_at(L == 0 ? 0 : L - 1);
  constexpr int X_IMAGE = L == 0 ? INPUT : units(L == 0 ? 0 : L - 1);
  for (int item = thread; item < pass.count * OUT_H * TILES * QUADS; item += THREADS) {
    const int quad = item % QUADS, tile = item / QUADS % TILES, oh = item / QUADS / TILES % OUT_H, image = item / QUADS / TILES / OUT_H;
    const int ow = tile * 4, there = OUT_W - ow < 4 ? OUT_W - ow : 4;
    float4 sum[4];
    for (int p = 0; p < 4; ++p) sum[p] = load4(s.weights + bias_at(L) + 4 * quad);
    for (int kh = 0; kh < 3; ++kh) {
      const float* x = x_of + image * X_IMAGE + ((2 * oh + kh) * IN_W + 2 * ow) * IN;
      const float* w = s.weights + kernel_at(L) + kh * 3 * IN * C + 4 * quad;
      for (int t = 0; t < 3 * IN; ++t) {
        const float4 tap = load4(w + t * C);
        for (int p = 0; p < 4; ++p)
          if (p < there) add4(sum[p], x[p * 2 * IN + t], tap);
      }
    }
    for (int p = 0; p < there; ++p) {
      const int unit = (oh * OUT_W + ow + p) * C + 4 * quad;
      const float z[4] = {sum[p].x, sum[p].y, sum[p].z, sum[p].w};
      for (int c = 0; c < 4; ++c) {
        // A maximum would turn what is not a number into 0.
        const float active = pass.tanh ? tanhf(z[c]) : z[c] < 0.0f ? 0.0f : z[c];
        s.hidden[hidden_at(L) + image * units(L) + unit + c] = active * kept(pass, L, image, unit + c);
      }
    }
  }
}

DEVICE void pool(Shared& s, int thread, int count) {
  constexpr int POSITIONS = height(DEPTH) * width(DEPTH);
  for (int item = thread; item < count * C; item += THREADS) {
    const float* h = s.hidden + hidden_at(DEPTH - 1) + item / C * units(DEPTH - 1) + item % C;
    float sum = 0.0f;
    for (int p = 0; p < POSITIONS; ++p) sum += h[p * C];
    s.pooled[item] = sum / POSITIONS;
  }
}

DEVICE void make_logits(Shared& s, int thread, int count) {
  for (int item = thread; item < count * DENSE; item += THREADS) {
    float sum = s.weights[DENSE_BIAS_AT + item % DENSE];
    for (int c = 0; c < C; ++c) sum += s.pooled[item / DENSE * C + c] * s.weights[DENSE_AT + c * DENSE + item % DENSE];
    s.logits[item] = sum;
  }
}

// shares = (softmax - answer) * factor; the loss and whether the largest logit is the answer.
DEVICE void compare(Shared& s, int thread, const int* labels, const int* order, int count, float factor) {
  for (int image = thread; image < count; image += THREADS) {
    const float* z = s.logits + image * DENSE;
    const int label = labels[order[image]];
    float top = z[0], sum = 0.0f;
    int best = 0;
    for (int j = 1; j < CLASSES; ++j)
      if (z[j] > top) top = z[j], best = j;
    for (int j = 0; j < CLASSES; ++j) sum += expf(z[j] - top);
    for (int j = 0; j < DENSE; ++j)
      s.shares[image * DENSE + j] = j < CLASSES ? (expf(z[j] - top) / sum - (j == label ? 1.0f : 0.0f)) * factor : 0.0f;
    s.losses[image] = logf(sum) + top - z[label];
    s.hits[image] = best == label;
  }
}

DEVICE void dense_gradient(Shared& s, int thread, int count) {
  for (int item = thread; item < (C + 1) * DENSE; item += THREADS) {
    const int c = item / DENSE, j = item % DENSE;
    float sum = 0.0f;
    for (int image = 0; image < count; ++image) sum += s.shares[image * DENSE + j] * (c < C ? s.pooled[image * C + c] : 1.0f);
    s.gradient[(c < C ? DENSE_AT + c * DENSE : DENSE_BIAS_AT) + j] += sum;
  }
  constexpr int POSITIONS = height(DEPTH) * width(DEPTH);
  for (int item = thread; item < count * C; item += THREADS) {
    float sum = 0.0f;
    for (int j = 0; j < CLASSES; ++j) sum += s.shares[item / C * DENSE + j] * s.weights[DENSE_AT + item % C * DENSE + j];
    s.back[item] = sum / POSITIONS;
  }
}

// The derivative of activation and dropout from what the activation became: h = t * keep for tanh, max(z, 0) * keep.
DEVICE float slope(const Pass& pass, int layer, int image, int unit, float h) {
  if (!pass.tanh) return h > 0.0f ? (pass.drop ? pass.scale : 1.0f) : 0.0f;
  const float keep = kept(pass, layer, image, unit);
  if (keep == 0.0f) return 0.0f;
  const float t = h / keep;
  return (1.0f - t * t) * keep;
}

DEVICE void pooled_gradient(Shared& s, int thread, const Pass& pass) {
  for (int i = thread; i < pass.count * units(DEPTH - 1); i += THREADS) {
    const int image = i / units(DEPTH - 1), unit = i % units(DEPTH - 1);
    float& h = s.hidden[hidden_at(DEPTH - 1) + i];
    h = s.back[image * C + unit % C] * slope(pass, DEPTH - 1, image, unit, h);
  }
}

// The first kernel's gradient, its positions cut into SCRATCH parts that are summed in a phase of their own.
DEVICE void first_kernel_parts(Shared& s, int thread, int count) {
  constexpr int OUT_H = height(1), OUT_W = width(1);
  for (int item = thread; item < SCRATCH * 9 * CIN * QUADS; item += THREADS) {
    const int quad = item % QUADS, tap = item / QUADS % (9 * CIN), part = item / QUADS / (9 * CIN);
    const int kh = tap / (3 * CIN), t = tap % (3 * CIN);
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int row = part; row < count * OUT_H; row += SCRATCH) {
      const int image = row / OUT_H, oh = row % OUT_H;
      const float* x = s.input + image * INPUT + (2 * oh + kh) * WIDTH * CIN + t;
      const float* g = s.hidden + image * units(0) + oh * OUT_W * C + 4 * quad;
      for (int ow = 0; ow < OUT_W; ++ow) add4(sum, x[ow * 2 * CIN], load4(g + ow * C));
    }
    *reinterpret_cast<float4*>(s.partial + part * FIRST + tap * C + 4 * quad) = sum;
  }
}
DEVICE void first_kernel_sum(Shared& s, int thread) {
  for (int i = thread; i < FIRST; i += THREADS) {
    float sum = 0.0f;
    for (int part = 0; part < SCRATCH; ++part) sum += s.partial[part * FIRST + i];
    s.gradient[kernel_at(0) + i] += sum;
  }
}

// Four input channels times four output channels of one tap a thread, over all positions and images.
template <int L>
DEVICE void kernel_gradient(Shared& s, int thread, int count) {
  constexpr int IN_W = width(L), OUT_H = height(L + 1), OUT_W = width(L + 1), BELOW = L == 0 ? 0 : L - 1;
  for (int item = thread; item < 9 * QUADS * QUADS; item += THREADS) {
    const int out = item % QUADS, in = item / QUADS % QUADS, tap = item / QUADS / QUADS;
    float4 sum[4] = {};
    for (int image = 0; image < count; ++image)
      for (int oh = 0; oh < OUT_H; ++oh) {
        const float* x = s.hidden + hidden_at(BELOW) + image * units(BELOW) + ((2 * oh + tap / 3) * IN_W + tap % 3) * C + 4 * in;
        const float* g = s.hidden + hidden_at(L) + image * units(L) + oh * OUT_W * C + 4 * out;
        for (int ow = 0; ow < OUT_W; ++ow) {
          const float4 from = load4(x + ow * 2 * C), to = load4(g + ow * C);
          add4(sum[0], from.x, to), add4(sum[1], from.y, to), add4(sum[2], from.z, to), add4(sum[3], from.w, to);
        }
      }
    for (int i = 0; i < 4; ++i) {
      float* to = s.gradient + kernel_at(L) + (tap * C + 4 * in + i) * C + 4 * out;
      to[0] += sum[i].x, to[1] += sum[i].y, to[2] += sum[i].z, to[3] += sum[i].w;
    }
  }
}

template <int L>
DEVICE void bias_gradient(Shared& s, int thread, int count) {
  for (int c = thread; c < C; c += THREADS) {
    float sum = 0.0f;
    for (int image = 0; image < count; ++image)
      for (int i = c; i < units(L); i += C) sum += s.hidden[hidden_at(L) + image * units(L) + i];
    s.gradient[bias_at(L) + c] += sum;
  }
}

// Four input positions two apart (they meet the same taps) times four input channels a thread; overwrites the layer below.
template <int L>
DEVICE void data_gradient(Shared& s, int thread, const Pass& pass) {
  constexpr int BELOW = L == 0 ? 0 : L - 1;
  constexpr int IN_H = height(L), IN_W = width(L), OUT_H = height(L + 1), OUT_W = width(L + 1);
  constexpr int HALF = (IN_W + 1) / 2, TILES = (HALF + 3) / 4;
  for (int item = thread; item < pass.count * IN_H * 2 * TILES * QUADS; item += THREADS) {
    const int quad = item % QUADS, tile = item / QUADS % TILES, odd = item / QUADS / TILES % 2;
    const int ih = item / QUADS / TILES / 2 % IN_H, image = item / QUADS / TILES / 2 / IN_H;
    float sum[4][4] = {};
    for (int kh = ih % 2; kh < 3; kh += 2) {
      const int oh = (ih - kh) / 2;
      if (ih < kh || oh >= OUT_H) continue;
      for (int kw = odd; kw < 3; kw += 2) {
        const float* w = s.weights + kernel_at(L) + ((kh * 3 + kw) * C + 4 * quad) * C;
        const float* g = s.hidden + hidden_at(L) + image * units(L) + oh * OUT_W * C;
        const int shift = (odd - kw) / 2;  // output column of position j is j + shift: 0, or -1 for the third tap
        for (int co = 0; co < C; co += 4) {
          const float4 row[4] = {load4(w + co), load4(w + C + co), load4(w + 2 * C + co), load4(w + 3 * C + co)};
          for (int p = 0; p < 4; ++p) {
            const int ow = 4 * tile + p + shift;
            if (ow < 0 || ow >= OUT_W) continue;
            const float4 v = load4(g + ow * C + co);
            for (int i = 0; i < 4; ++i) sum[p][i] += v.x * row[i].x + v.y * row[i].y + v.z * row[i].z + v.w * row[i].w;
          }
        }
      }
    }
    for (int p = 0; p < 4; ++p) {
      const int iw = 2 * (4 * tile + p) + odd;
      if (iw >= IN_W) continue;
      const int unit = (ih * IN_W + iw) * C + 4 * quad;
      for (int i = 0; i < 4; ++i) {
        float& h = s.hidden[hidden_at(BELOW) + image * units(BELOW) + unit + i];
        h = sum[p][i] * slope(pass, BELOW, image, unit + i, h);
      }
    }
  }
}

DEVICE bool is_kernel(int i) {
  if (i >= DENSE_AT) return i < DENSE_BIAS_AT;
  for (int l = 0; l < DEPTH; ++l)
    if (i >= kernel_at(l) && i < bias_at(l)) return true;
  return false;
}

DEVICE void update(Shared& s, int thread, float* mean, float* square, const Row& row, float mean_scale, float square_scale) {
  for (int i = thread; i < WEIGHTS; i += THREADS) {
    float& w = s.weights[i];
    const float g = s.gradient[i] + (is_kernel(i) ? 2.0f * row.l2reg * w : 0.0f);
    s.gradient[i] = 0.0f;
    if (row.rule == 0) {
      w -= row.rate * g;
    } else if (row.rule == 1) {
      mean[i] = 0.9f * mean[i] + g;
      w -= row.rate * mean[i];
    } else if (row.rule == 2) {
      mean[i] += (1.0f - 0.9f) * (g - mean[i]);
      square[i] = 0.999f * square[i] + (1.0f - 0.999f) * g * g;
      w -= row.rate * mean_scale * mean[i] / (sqrtf(square[i]) * square_scale + 1e-7f);
    } else {
      square[i] = 0.9f * square[i] + (1.0f - 0.9f) * g * g;
      w -= row.rate * g / (sqrtf(square[i]) + 1e-7f);
    }
  }
}

// ------------------------------------------------------------------------------------------------ a block of images

template <int L>
DEVICE void forward_from(Shared& s, const Pass& pass) {
  PHASE(convolve<L>(s, thread, pass))
  if constexpr (L + 1 < DEPTH) forward_from<L + 1>(s, pass);
}

template <int L>
DEVICE void backward_from(Shared& s, const Pass& pass) {
  if constexpr (L == 0) {
    PHASE(first_kernel_parts(s, thread, pass.count); bias_gradient<0>(s, thread, pass.count))
    PHASE(first_kernel_sum(s, thread))
  } else {
    PHASE(kernel_gradient<L>(s, thread, pass.count); bias_gradient<L>(s, thread, pass.count))
    PHASE(data_gradient<L>(s, thread, pass))
    backward_from<L - 1>(s, pass);
  }
}

DEVICE void forward(Shared& s, const Pass& pass, const byte* images, const int* labels, const int* order, float factor) {
  PHASE(read_images(s, thread, images, order, pass.count))
  forward_from<0>(s, pass);
  PHASE(pool(s, thread, pass.count))
  PHASE(make_logits(s, thread, pass.count))
  PHASE(compare(s, thread, labels, order, pass.count, factor))
}

DEVICE void backward(Shared& s, const Pass& pass) {
  PHASE(dense_gradient(s, thread, pass.count))
  PHASE(pooled_gradient(s, thread, pass))
  backward_from<DEPTH - 1>(s, pass);
}

DEVICE void copy(float* to, const float* from, int thread) {
  for (int i = thread; i < WEIGHTS; i += THREADS) to[i] = from[i];
}
DEVICE void clear(float* what, int thread) {
  for (int i = thread; i < WEIGHTS; i += THREADS) what[i] = 0.0f;
}

// Steps of one network; the sum of the batches' mean losses. Called by all threads of a block.
DEVICE double train_network(Shared& s, const byte* images, const int* labels, const int* order, int steps, int batch,
                            long long first_step, float* weights, float* mean, float* square, const Row& row, int tanh) {
  double loss = 0.0;
  PHASE(copy(s.weights, weights, thread); clear(s.gradient, thread))
  for (int step = 0; step < steps; ++step) {
    const double number = double(first_step + step);
    for (int start = 0; start < batch; start += IMAGES) {
      const int count = batch - start < IMAGES ? batch - start : IMAGES;
      const Pass pass = {count, tanh, row.threshold > 0, row.scale, row.threshold, row.seed, word(first_step + step), word(start)};
      forward(s, pass, images, labels, order + (long long)step * batch + start, 1.0f / batch);
      for (int image = 0; image < count; ++image) loss += s.losses[image] / batch;
      backward(s, pass);
    }
    const float mean_scale = float(1.0 / (1.0 - pow(0.9, number + 1.0))), square_scale = float(1.0 / sqrt(1.0 - pow(0.999, number + 1.0)));
    PHASE(update(s, thread, mean, square, row, mean_scale, square_scale))
  }
  PHASE(copy(weights, s.weights, thread))
  return loss;
}

DEVICE void evaluate_network(Shared& s, const byte* images, const int* labels, const int* order, int count, const float* weights,
                             int tanh, long long& hits, double& loss) {
  hits = 0, loss = 0.0;
  PHASE(copy(s.weights, weights, thread))
  for (int start = 0; start < count; start += IMAGES) {
    const Pass pass = {count - start < IMAGES ? count - start : IMAGES, tanh, 0, 1.0f, 0, 0, 0, 0};
    forward(s, pass, images, labels, order + start, 1.0f);
    for (int image = 0; image < pass.count; ++image) hits += s.hits[image], loss += s.losses[image];
  }
}

#ifndef EMULATED

extern "C" __global__ void __launch_bounds__(THREADS)
    train(const byte* images, const int* labels, const int* order, int steps, int batch, long long first_step, float* weights,
          float* mean, float* square, const Row* rows, int tanh, double* losses) {
  extern __shared__ __align__(16) char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  const long long at = (long long)blockIdx.x * WEIGHTS;
  const double loss = train_network(s, images, labels, order, steps, batch, first_step, weights + at, mean + at, square + at,
                                    rows[blockIdx.x], tanh);
  if (threadIdx.x == 0) losses[blockIdx.x] = loss;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    evaluate(const byte* images, const int* labels, const int* order, int count, const float* weights, int tanh, long long* hits,
             double* losses) {
  extern __shared__ __align__(16) char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  long long correct;
  double loss;
  evaluate_network(s, images, labels, order, count, weights + (long long)blockIdx.x * WEIGHTS, tanh, correct, loss);
  if (threadIdx.x == 0) hits[blockIdx.x] = correct, losses[blockIdx.x] = loss;
}

#else

extern "C" {
int emulated_weights() { return WEIGHTS; }
int emulated_shared_bytes() { return sizeof(Shared); }
double emulated_train(const byte* images, const int* labels, const int* order, int steps, int batch, long long first_step,
                      float* weights, float* mean, float* square, const Row* row, int tanh) {
  static Shared s;
  return train_network(s, images, labels, order, steps, batch, first_step, weights, mean, square, *row, tanh);
}
double emulated_evaluate(const byte* images, const int* labels, const int* order, int count, const float* weights, int tanh,
                         long long* hits) {
  static Shared s;
  double loss;
  evaluate_network(s, images, labels, order, count, weights, tanh, *hits, loss);
  return loss;
}
}

#endif
