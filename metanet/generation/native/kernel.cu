// One small CNN a thread block: the CPU kernel's algorithm (network.hpp) with weights, gradient and activations in shared
// memory. Compiled at run time (NVRTC), the geometry as macros:
//   HEIGHT WIDTH CIN C DEPTH CLASSES   of the network; C is a multiple of 4
//   IMAGES                             that go through a layer together
//   THREADS                            of a block
//   SCRATCH                            parts into which the first layer's positions are cut for its weight gradient
// A block trains its network for an epoch; the optimizer's moments stay in global memory, which the L2 cache holds.
// Sums have a fixed order: no atomics.

#include "block.cuh"
#include "forward.cuh"
#include "backward.cuh"
#include "update.cuh"

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
