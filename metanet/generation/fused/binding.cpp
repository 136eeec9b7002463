// Python's view of the kernel: one module per instruction set, named by METANET_VARIANT.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <string>

#include "kernel.hpp"

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
