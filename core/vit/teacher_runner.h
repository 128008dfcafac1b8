// A frozen teacher over views: shared by precompute and by on-line training. This header knows no LibTorch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/view/view.h"

namespace afterimage {

// What flags may say about a teacher beyond its weights file.
struct TeacherOptions {
  // .safetensors, the .safetensors.index.json of a sharded checkpoint, or a folder with one of the two;
  // .pt, .ts or .torchscript: a TorchScript module with its description (torchscript_teacher.h).
  std::string weights;
  // Empty = recognised from names and shapes; the known ones are TeacherFamilyNames() in teacher_families.h,
  // and "torchscript".
  std::string family;
  std::string prefix;  // only tensors whose names begin so are looked at: "teacher.backbone."; empty = all
  // 0 = from config.json beside the weights or from the file's metadata, else an error that says so.
  uint32_t num_heads = 0;
  std::string activation;      // empty = the family's: "gelu", "quick_gelu"
  std::string layer_norm_eps;  // empty = the family's
  std::string mean, std;       // empty = the family's: three decimals, comma-separated
  // Side of the views. 0 = the weights' own; otherwise the position table is resized as the family does.
  uint32_t image_size = 0;
  // Side of the network's input. 0 = that of the views; otherwise each view is resized to it (ResizePixels),
  // and the position table too: CLIP-L/14 gets views of 224 pixels at 196, so that its grid is 14 x 14
  // (maskalign.md section 1.2). Part of the feature spec.
  uint32_t input_size = 0;
  std::string device = "cpu";  // "cpu", "cuda", "cuda:1"
  int num_threads = 0;         // intra-op; 0 = LibTorch's own choice
  // Fixed and padded: the same view gives the same bits whatever its neighbours are.
  uint32_t micro_batch = 16;
};

// Loads once; Run may be called from one thread at a time.
class TeacherRunner {
 public:
  // NotFound: no such file. InvalidArgument: a missing, extra or wrongly shaped tensor (named, both shapes
  // told), an unknown family (what is known is listed), heads unknown, views that the grid does not divide.
  // DataLoss: a damaged file. Unavailable: no such device.
  static absl::StatusOr<std::unique_ptr<TeacherRunner>> Load(const TeacherOptions& options);
  virtual ~TeacherRunner() = default;

  // What consumers need to know, and the teacher's share of the feature spec (canonical).
  virtual TeacherGeometry geometry() const = 0;
  virtual Json TeacherSpec() const = 0;
  virtual Json PreprocessingSpec() const = 0;
  virtual uint32_t view_size() const = 0;  // side of the views it takes, pixels: a multiple of the grid
  virtual uint32_t micro_batch() const = 0;
  virtual std::string DeviceDescription() const = 0;  // for UnitMetadata
  virtual double ForwardMacs() const = 0;  // multiply-accumulates per view, for predictions; 0 = not known

  // One record per view: importance and the normalised features of `levels` (ascending, 1-based) for all
  // tokens, with pixels in patch-major rows. Any number of views; they run in micro-batches. InvalidArgument:
  // a view of another size, a level that does not exist.
  virtual absl::StatusOr<std::vector<FeatureRecord>> Run(std::span<const View> views,
                                                         std::span<const uint32_t> levels) = 0;

  // For k-NN: of the last level, raw (not normalised), the class token and then the mean of the patches:
  // views x (2 * width), row by row.
  virtual absl::StatusOr<std::vector<float>> Embed(std::span<const View> views) = 0;
};

// Of the affine-free LayerNorm that targets get (maskalign.md section 1.3, `whiten`).
inline constexpr double kNormalizationEps = 1e-5;

// The feature spec of this teacher over these views.
FeatureSpec MakeFeatureSpec(const TeacherRunner& teacher, const ViewSpec& view);

}  // namespace afterimage
