// The phase that moves the weights: SGD, momentum, Adam or RMSprop with Keras' constants, and l2 on kernels.

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
