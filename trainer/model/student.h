// The network that pre-training trains: a ViT over visible patches and the alignment behind it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/vit/vit.h"
#include "trainer/model/alignment.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

// Parameters in timm's names beside "align.*". Positions are fixed, and the final norm takes no part
// (maskalign.md section 1.1): both are there, untrained, so that an export is a whole timm network.
class Student {
 public:
  // One alignment per teacher, each with a prefix of its own. InvalidArgument: an impossible architecture, or
  // one that does not pair with a teacher.
  static absl::StatusOr<Student> Create(const VitConfig& vit, std::vector<AlignmentConfig> alignments,
                                        uint64_t seed);

  // `pixels`: uint8 [B, n, p p 3], the rows of the visible patches as records hold them; `visible`: int64 [B,
  // n]; `drop_path`: as VitForwardOptions. One prediction [B, 1 + n, D_t] per level of each teacher in turn,
  // class token first.
  std::vector<at::Tensor> Predict(const at::Tensor& pixels, const at::Tensor& visible,
                                  const at::Tensor& drop_path) const;

  void MoveTo(at::Device device);
  const VitConfig& vit() const { return vit_; }
  const std::vector<AlignmentConfig>& alignments() const { return alignments_; }
  const ParameterMap& parameters() const { return parameters_; }
  // What `export` writes: without "align.*".
  VitWeights Export() const;

 private:
  VitConfig vit_;
  std::vector<AlignmentConfig> alignments_;
  ParameterMap parameters_;
  PixelNorm pixel_norm_;  // ImageNet's, whatever the teacher is given (maskalign.md section 6, 14)
  at::Tensor mean_, deviation_;
};

// Rows uint8 [B, n, p p 3] (row, column, channel) -> normalised rows [B, n, 3 p p] in the patch convolution's
// order (channel, row, column), in the dtype of `mean`.
at::Tensor StudentRows(const at::Tensor& pixels, const at::Tensor& mean, const at::Tensor& deviation);

}  // namespace afterimage::trainer
