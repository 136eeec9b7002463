// Python's view of the kernel: one module per instruction set, named by METANET_VARIANT.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <string>

#include "measure.hpp"
#include "network.hpp"
#include "norm_pool.hpp"
#include "thin_conv.hpp"

namespace py = pybind11;
using metanet::Activation;
using metanet::Images;
using metanet::Network;
using metanet::Rule;
using metanet::Training;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

std::unique_ptr<Network> create(int height, int width, int channels, int depth, int units, int classes) {
  using namespace metanet;
  if (classes < 1 || classes > 16) throw std::invalid_argument("classes must be 1 to 16");
  if (depth < 1) throw std::invalid_argument("depth must be 1 or more");
  const auto make = [&]<int CIN>() -> std::unique_ptr<Network> {
    if (units == 8) return std::make_unique<SmallCnn<CIN, 8>>(height, width, depth, classes);
    if (units == 16) return std::make_unique<SmallCnn<CIN, 16>>(height, width, depth, classes);
    if (units == 32) return std::make_unique<SmallCnn<CIN, 32>>(height, width, depth, classes);
    throw std::invalid_argument("units must be 8, 16 or 32");
  };
  if (channels == 1) return make.operator()<1>();
  if (channels == 3) return make.operator()<3>();
  throw std::invalid_argument("channels must be 1 or 3");
}

// A writable vector of the network's size at a 64-byte boundary.
float* vector_of(const Network& network, Array<float>& array) {
  float* data = array.mutable_data();
  if (size_t(array.size()) != network.weights()) throw std::invalid_argument("a vector has another size than the network");
  if (reinterpret_cast<uintptr_t>(data) % 64) throw std::invalid_argument("a vector is not aligned to 64 bytes");
  return data;
}

// Bytes (n, H, W, C) and labels (n,) that belong together and to the network.
Images images_of(const Network& network, const Array<uint8_t>& pixels, const Array<int64_t>& labels) {
  if (pixels.size() != labels.size() * py::ssize_t(network.pixels())) throw std::invalid_argument("images and labels do not belong together");
  for (py::ssize_t i = 0; i < labels.size(); ++i)
    if (labels.data()[i] < 0 || labels.data()[i] >= network.classes()) throw std::invalid_argument("a label is none of the network's classes");
  return {pixels.data(), labels.data()};
}

metanet::PoolShape pool_shape(const Array<float>& x, int pool) {
  if (x.ndim() != 4) throw std::invalid_argument("x must be (n, H, W, C)");
  if (pool != 1 && pool != 2) throw std::invalid_argument("pool must be 1 or 2");
  const metanet::PoolShape shape{x.shape(0), int(x.shape(1)), int(x.shape(2)), int(x.shape(3)), pool};
  if (shape.height % pool || shape.width % pool || x.size() == 0) throw std::invalid_argument("x cannot be pooled so");
  if (!metanet::with_channels(shape.channels, []<int N>() {})) throw std::invalid_argument("no build for so many channels");
  return shape;
}

void check_pooled(const metanet::PoolShape& shape, py::ssize_t pooled, py::ssize_t chosen) {
  const int64_t wanted = shape.positions() / (shape.pool * shape.pool) * shape.channels;
  if (pooled != wanted || (shape.pool > 1 && chosen != wanted)) throw std::invalid_argument("the pooled arrays do not belong to x");
}

void check_channels(int channels, std::initializer_list<py::ssize_t> sizes) {
  for (const py::ssize_t size : sizes)
    if (size != channels) throw std::invalid_argument("a vector has another size than the channels");
}

metanet::ThinShape thin_shape(const Array<float>& x, const Array<float>& weight, py::ssize_t bias, py::ssize_t out) {
  if (x.ndim() != 4 || x.shape(3) != 3) throw std::invalid_argument("x must be (n, H, W, 3)");
  if (weight.ndim() != 4 || weight.shape(1) != 3 || weight.shape(2) != weight.shape(3) || weight.shape(2) % 2 == 0)
    throw std::invalid_argument("filters must be (filters, 3, size, size), their size odd");
  const metanet::ThinShape s{x.shape(0), int(x.shape(1)), int(x.shape(2)), int(weight.shape(0)), int(weight.shape(2))};
  if (s.width % 16 || s.height < s.size) throw std::invalid_argument("the width must be a multiple of 16, the height that of a filter");
  if (!metanet::with_filters(s.filters, []<int N>() {})) throw std::invalid_argument("no build for so many filters");
  if (bias != s.filters || out != s.images * s.height * s.width * s.filters)
    throw std::invalid_argument("bias or output do not belong to the filters");
  return s;
}

Activation activation_of(int code) {
  if (code < 0 || code > metanet::TANH) throw std::invalid_argument("no such activation");
  return Activation(code);
}

Training training_of(int rule, int activation, double rate, double l2reg, double dropout, uint32_t seed) {
  if (rule < 0 || rule > metanet::RMSPROP) throw std::invalid_argument("no such optimizer");
  if (!(dropout >= 0 && dropout < 1)) throw std::invalid_argument("dropout must lie in [0, 1)");
  return {Rule(rule), activation_of(activation), rate, l2reg, dropout, seed};
}

}  // namespace

PYBIND11_MODULE(METANET_VARIANT, m) {
  m.doc() = "The fused training step of a small CNN, compiled for one instruction set.";
  m.attr("lanes") = metanet::LANES;
  py::class_<Network>(m, "Network")
      .def(py::init(&create), py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("depth"), py::arg("units"),
           py::arg("classes"))
      .def_property_readonly("weights", &Network::weights)
      .def(
          "train",
          [](Network& network, Array<float> weights, Array<float> mean, Array<float> square, Array<uint8_t> pixels,
             Array<int64_t> labels, Array<int64_t> order, int batch, int64_t first_step, int rule, int activation, double rate,
             double l2reg, double dropout, uint32_t seed) {
            float *w = vector_of(network, weights), *a = vector_of(network, mean),
                  *b = vector_of(network, square);
            if (batch < 1) throw std::invalid_argument("a batch needs an image");
            const Images images = images_of(network, pixels, labels);
            for (py::ssize_t i = 0; i < order.size(); ++i)
              if (order.data()[i] < 0 || order.data()[i] >= labels.size()) throw std::invalid_argument("the order names no image");
            const int64_t steps = order.size() / batch;
            const Training training = training_of(rule, activation, rate, l2reg, dropout, seed);
            const int64_t* at = order.data();
            py::gil_scoped_release release;
            return network.train(w, a, b, images, at, steps, batch, first_step, training);
          },
          py::arg("weights").noconvert(), py::arg("mean").noconvert(), py::arg("square").noconvert(), py::arg("pixels"),
          py::arg("labels"), py::arg("order"), py::arg("batch"), py::arg("first_step"), py::arg("rule"), py::arg("activation"),
          py::arg("learning_rate"), py::arg("l2reg"), py::arg("dropout"), py::arg("seed"),
          "Steps of one network over `order`, in place; returns the sum of the batches' mean losses.")
      .def(
          "gradient",
          [](Network& network, Array<float> weights, Array<float> out, Array<uint8_t> pixels, Array<int64_t> labels, int64_t step,
             int activation, double l2reg, double dropout, uint32_t seed) {
            const Training training = training_of(0, activation, 0.0, l2reg, dropout, seed);
            return network.gradient(vector_of(network, weights), images_of(network, pixels, labels), int(labels.size()), step,
                                    training, vector_of(network, out));
          },
          py::arg("weights").noconvert(), py::arg("out").noconvert(), py::arg("pixels"), py::arg("labels"), py::arg("step"),
          py::arg("activation"), py::arg("l2reg"), py::arg("dropout"), py::arg("seed"),
          "Mean loss of one batch; its gradient with the l2 term goes into `out`.")
      .def(
          "evaluate",
          [](Network& network, Array<float> weights, Array<uint8_t> pixels, Array<int64_t> labels, int activation) {
            const float* w = vector_of(network, weights);
            const Images images = images_of(network, pixels, labels);
            const Activation code = activation_of(activation);
            const int64_t count = labels.size();
            py::gil_scoped_release release;
            return network.evaluate(w, images, count, code);
          },
          "Correct answers and the sum of cross-entropies without dropout.");
  m.attr("norm_pool_channels") = py::make_tuple(4, 8, 12, 16, 24, 32, 48);
  m.def(
      "norm_pool",
      [](Array<float> x, Array<float> scale, Array<float> shift, Array<float> mean, Array<float> inverse, Array<float> variance,
         Array<float> out, Array<uint8_t> chosen, int pool, double eps, bool normed) {
        const metanet::PoolShape shape = pool_shape(x, pool);
        const int C = shape.channels;
        check_pooled(shape, out.size(), chosen.size());
        check_channels(C, {scale.size(), shift.size(), mean.size(), inverse.size(), variance.size()});
        std::vector<float> a(scale.data(), scale.data() + C), b(shift.data(), shift.data() + C);
        if (normed) {
          float *m_ = mean.mutable_data(), *i_ = inverse.mutable_data();
          float* v_ = variance.mutable_data();
          metanet::with_channels(C, [&]<int N>() { metanet::channel_statistics<N>(x.data(), shape, eps, m_, i_, v_); });
          for (int c = 0; c < C; ++c) {
            a[c] = scale.data()[c] * i_[c];
            b[c] = shift.data()[c] - m_[c] * a[c];
          }
        }
        float* o = out.mutable_data();
        uint8_t* k = chosen.mutable_data();
        metanet::with_channels(C, [&]<int N>() { metanet::scale_and_pool<N>(x.data(), shape, a.data(), b.data(), o, k); });
      },
      py::arg("x").noconvert(), py::arg("scale").noconvert(), py::arg("shift").noconvert(), py::arg("mean").noconvert(),
      py::arg("inverse").noconvert(), py::arg("variance").noconvert(), py::arg("out").noconvert(), py::arg("chosen").noconvert(),
      py::arg("pool"), py::arg("eps"), py::arg("normed"),
      "scale * x + shift, x (n, H, W, C) normalised by the batch's statistics where `normed`; then the maximum of each pool x pool window.");
  m.def(
      "norm_pool_backward",
      [](Array<float> grad, Array<float> x, Array<uint8_t> chosen, Array<float> scale, Array<float> mean, Array<float> inverse,
         Array<float> grad_scale, Array<float> grad_shift, Array<float> out, int pool, bool normed) {
        const metanet::PoolShape shape = pool_shape(x, pool);
        check_pooled(shape, grad.size(), chosen.size());
        check_channels(shape.channels, {scale.size(), mean.size(), inverse.size(), grad_scale.size(), grad_shift.size()});
        if (out.size() != x.size()) throw std::invalid_argument("the gradient has another size than x");
        float *o = out.mutable_data(), *gs = grad_scale.mutable_data(), *gb = grad_shift.mutable_data();
        metanet::with_channels(shape.channels, [&]<int N>() {
          metanet::backward<N>(grad.data(), x.data(), chosen.data(), shape, scale.data(), mean.data(), inverse.data(), normed, gs, gb, o);
        });
      },
      py::arg("grad").noconvert(), py::arg("x").noconvert(), py::arg("chosen").noconvert(), py::arg("scale").noconvert(),
      py::arg("mean").noconvert(), py::arg("inverse").noconvert(), py::arg("grad_scale").noconvert(),
      py::arg("grad_shift").noconvert(), py::arg("out").noconvert(), py::arg("pool"), py::arg("normed"),
      "The gradient of norm_pool's inputs from that of its output.");
  m.attr("thin_conv_filters") = py::make_tuple(4, 8, 12);
  m.def(
      "thin_conv",
      [](Array<float> x, Array<float> weight, Array<float> bias, Array<float> out) {
        const metanet::ThinShape s = thin_shape(x, weight, bias.size(), out.size());
        float* o = out.mutable_data();
        metanet::with_filters(s.filters, [&]<int N>() { metanet::thin_forward<3, N>(x.data(), weight.data(), bias.data(), o, s); });
      },
      py::arg("x").noconvert(), py::arg("weight").noconvert(), py::arg("bias").noconvert(), py::arg("out").noconvert(),
      "Convolution of colour images (n, H, W, 3) with few filters (filters, 3, size, size), stride 1, padded to the same size.");
  m.def(
      "thin_conv_gradient",
      [](Array<float> x, Array<float> grad, Array<float> grad_weight, Array<float> grad_bias) {
        const metanet::ThinShape s = thin_shape(x, grad_weight, grad_bias.size(), grad.size());
        float *gw = grad_weight.mutable_data(), *gb = grad_bias.mutable_data();
        metanet::with_filters(s.filters, [&]<int N>() { metanet::thin_gradient<3, N>(x.data(), grad.data(), gw, gb, s); });
      },
      py::arg("x").noconvert(), py::arg("grad").noconvert(), py::arg("grad_weight").noconvert(), py::arg("grad_bias").noconvert(),
      "The gradients of thin_conv's filters and bias from that of its output.");
  m.def(
      "multiply_add_rate",
      [](double seconds) {
        using clock = std::chrono::steady_clock;
        double done = 0;
        const auto began = clock::now();
        double passed = 0;
        while (passed < seconds) {
          done += metanet::multiply_add_loop(1 << 18);
          passed = std::chrono::duration<double>(clock::now() - began).count();
        }
        return done / passed;
      },
      "FLOP/s of a register-only multiply-add loop on this core.");
  m.def(
      "supported",
      [](const std::string& variant) {
#if defined(__x86_64__)
        __builtin_cpu_init();
        if (variant == "avx512")
          return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl");
        if (variant == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
        return variant == "baseline";
      },
      "Whether this processor runs a variant.");
}
