#include "trainer/forward/compare.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"
#include "core/tensors/safetensors.h"
#include "core/vit/tensor_file.h"
#include "core/vit/torch_status.h"

namespace afterimage::trainer {
namespace {

bool IsResult(const std::string& name) {
  return absl::StartsWith(name, "output.") || absl::StartsWith(name, "grad.");
}

std::string ShapeText(at::IntArrayRef shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

// Names in the order in which a reader counts: hidden.2 before hidden.10.
bool ReadsBefore(const std::string& a, const std::string& b) {
  const auto digits = [](const std::string& text, size_t from) {
    size_t end = from;
    while (end < text.size() && absl::ascii_isdigit(text[end])) ++end;
    return end - from;
  };
  size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  while (i > 0 && absl::ascii_isdigit(a[i - 1])) --i;  // to the start of a number in which they differ
  const size_t digits_a = digits(a, i), digits_b = digits(b, i);
  if (digits_a > 0 && digits_b > 0 && digits_a != digits_b) return digits_a < digits_b;
  return a < b;
}

// The "tensors" of the JSON beside the file; an empty object where there is none.
absl::StatusOr<Json> StatedTensors(const std::string& reference) {
  absl::string_view stem = reference;
  absl::ConsumeSuffix(&stem, ".safetensors");
  const std::string path = absl::StrCat(stem, ".json");
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return Json::object();
  AFTERIMAGE_RETURN_IF_ERROR(text.status());
  const Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, " is no JSON object"));
  const auto tensors = json.find("tensors");
  return tensors != json.end() && tensors->is_object() ? *tensors : Json::object();
}

double Tolerance(const CompareOptions& options, const Json& stated, const std::string& name, double largest) {
  if (options.rtol.has_value()) return *options.rtol * largest;
  if (options.in_double) return kSharpTolerance * largest;
  const auto tensor = stated.find(name);
  if (tensor != stated.end() && tensor->is_object() && tensor->contains("atol") &&
      (*tensor)["atol"].is_number()) {
    return (*tensor)["atol"].get<double>();
  }
  return kSingleTolerance * largest;
}

ComparedTensor Compare(const std::string& name, const at::Tensor& ours, const at::Tensor& wanted,
                       const CompareOptions& options, const Json& stated) {
  ComparedTensor row{.name = name};
  if (ours.sizes() != wanted.sizes()) {
    row.problem = absl::StrCat("shape ", ShapeText(ours.sizes()), ", not ", ShapeText(wanted.sizes()));
    row.difference = std::numeric_limits<double>::infinity();
    return row;
  }
  if (wanted.numel() == 0) return row;
  const at::Tensor reference = wanted.to(at::kDouble);
  row.largest = reference.abs().max().item<double>();
  row.difference = (ours.to(at::kDouble) - reference).abs().max().item<double>();
  if (std::isnan(row.difference)) row.difference = std::numeric_limits<double>::infinity();
  row.tolerance = at::isIntegralType(wanted.scalar_type(), /*includeBool=*/true)
                      ? 0
                      : Tolerance(options, stated, name, row.largest);
  return row;
}

}  // namespace

int Comparison::num_outside() const {
  return static_cast<int>(
      std::count_if(tensors.begin(), tensors.end(), [](const auto& row) { return !row.within(); }));
}

std::string Comparison::Text() const {
  size_t width = 6;
  for (const ComparedTensor& row : tensors) width = std::max(width, row.name.size());
  std::string text = absl::StrFormat("%-*s  %10s  %10s  %10s\n", static_cast<int>(width), "tensor",
                                     "difference", "relative", "tolerance");
  for (const ComparedTensor& row : tensors) {
    absl::StrAppendFormat(&text, "%-*s  %10.2e  %10.2e  %10.2e%s%s\n", static_cast<int>(width), row.name,
                          row.difference, row.largest > 0 ? row.difference / row.largest : row.difference,
                          row.tolerance, row.within() ? "" : "  OUTSIDE",
                          row.problem.empty() ? "" : ": " + row.problem);
  }
  if (!not_computed.empty()) {
    constexpr size_t kListed = 8;
    const size_t listed = std::min(not_computed.size(), kListed);
    absl::StrAppend(&text, not_computed.size(), " tensors of the reference were not computed: ",
                    absl::StrJoin(not_computed.begin(), not_computed.begin() + listed, ", "),
                    listed < not_computed.size() ? ", …" : "", "\n");
  }
  return text;
}

absl::StatusOr<Comparison> CompareTensors(const ParameterMap& tensors, const std::string& reference,
                                          const CompareOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file,
                              SafetensorsFile::Open(reference));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json stated, StatedTensors(reference));
  AFTERIMAGE_ASSIGN_OR_RETURN(
      Comparison comparison, RunTorch([&] {
        Comparison result;
        for (const auto& [name, view] : file->tensors()) {
          if (!IsResult(name)) continue;
          const auto ours = tensors.find(name);
          if (ours == tensors.end()) {
            result.not_computed.push_back(name);
          } else {
            result.tensors.push_back(Compare(name, ours->second, ToTensor(view), options, stated));
          }
        }
        return result;
      }));
  std::ranges::sort(comparison.tensors, ReadsBefore, &ComparedTensor::name);
  std::ranges::sort(comparison.not_computed, ReadsBefore);
  if (comparison.tensors.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(reference, " holds none of the tensors that were computed: ", tensors.begin()->first,
                     " and others; --name says which of several inputs of a file is meant"));
  }
  return comparison;
}

}  // namespace afterimage::trainer
