// The phases from losses to the gradient of every weight; gradients of activations overwrite the activations.

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
