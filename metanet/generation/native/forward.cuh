// The phases from images to losses, each a function of the thread's number.

DEVICE word mix(word x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

// 1 / (1 - rate) where the unit is kept, else 0: the same bits as in activations.hpp.
DEVICE float kept(const Pass& pass, int layer, int image, int unit) {
  if (!pass.drop) return 1.0f;
  const word key = mix(mix(mix(pass.seed + 0x9E3779B9u) ^ pass.step) ^ ((pass.first + image) * 64 + layer));
  const word bits = mix(key + (unit / 32 * 16 + unit % 16) * 0x9E3779B9u);
  const word half = unit / 16 % 2 ? bits >> 16 : bits & 0xFFFFu;
  return half < pass.threshold ? 0.0f : pass.scale;
}

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
