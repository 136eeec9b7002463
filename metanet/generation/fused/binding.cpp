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
template <class T>
T* vector_of(const Network& network, py::array_t<float, py::array::c_style>& array) {
  float* data = array.mutable_data();
  if (size_t(array.size()) != network.weights()) throw std::invalid_argument("a vector has another size than the network");
  if (reinterpret_cast<uintptr_t>(data) % 64) throw std::invalid_argument("a vector is not aligned to 64 bytes");
  return data;
}

Images images_of(const Array<uint8_t>& pixels, const Array<int64_t>& labels) { return {pixels.data(), labels.data()}; }

Training training_of(int rule, int activation, double rate, double l2reg, double dropout, uint32_t seed) {
  return {Rule(rule), Activation(activation), rate, l2reg, dropout, seed};
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
            float *w = vector_of<float>(network, weights), *a = vector_of<float>(network, mean),
                  *b = vector_of<float>(network, square);
            const int64_t steps = order.size() / batch;
            const Training training = training_of(rule, activation, rate, l2reg, dropout, seed);
            const int64_t* at = order.data();
            py::gil_scoped_release release;
            return network.train(w, a, b, images_of(pixels, labels), at, steps, batch, first_step, training);
          },
          "Steps of one network over `order`, in place; returns the sum of the batches' mean losses.")
      .def(
          "gradient",
          [](Network& network, Array<float> weights, Array<float> out, Array<uint8_t> pixels, Array<int64_t> labels, int64_t step,
             int activation, double l2reg, double dropout, uint32_t seed) {
            const Training training = training_of(0, activation, 0.0, l2reg, dropout, seed);
            return network.gradient(vector_of<float>(network, weights), images_of(pixels, labels), int(labels.size()), step,
                                    training, vector_of<float>(network, out));
          },
          "Mean loss of one batch; its gradient with the l2 term goes into `out`.")
      .def(
          "evaluate",
          [](Network& network, Array<float> weights, Array<uint8_t> pixels, Array<int64_t> labels, int activation) {
            const float* w = vector_of<float>(network, weights);
            const int64_t count = labels.size();
            py::gil_scoped_release release;
            return network.evaluate(w, images_of(pixels, labels), count, Activation(activation));
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
