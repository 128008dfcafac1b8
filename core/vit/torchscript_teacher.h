// Teachers of any architecture: a TorchScript module with a description (docs/teachers.md has the contract).
//
// The module takes pixels [B, 3, S, S], normalised by the description's mean and std, and returns its levels
// as a dictionary under the description's names, or as a tensor, tuple or list in their order. A level is [B,
// N, D] or, with a class token, [B, 1 + N, D], row by row; or a map [B, D, G, G]. N = G * G, and D is the
// same in all levels. Where the description promises importance, the key "importance", or the last element,
// is [B, N], nothing below 0.
//
// A level without a class token gets the mean of its patches as row 0. Without importance every patch weighs
// the same, and the spec says "none", so that masks from attention are refused (CheckMaskSource).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "core/vit/teacher_runner.h"

namespace afterimage {

// Whether the weights are TorchScript: by the family "torchscript", or without a family by the suffix .pt,
// .ts or .torchscript. InvalidArgument: a PyTorch pickle by its suffix (.pth, .bin), or one of those suffixes
// with the name of another family (how to convert it).
absl::StatusOr<bool> IsTorchScriptTeacher(const TeacherOptions& options);

// Loads the module, and runs it twice over two pictures in other orders. InvalidArgument: outputs that are
// not what the contract says, a result that depends on a picture's neighbours in the micro-batch, options
// that say nothing about such a teacher; otherwise the errors of TorchScriptModule::Load and
// ReadTorchScriptDescription.
absl::StatusOr<std::unique_ptr<TeacherRunner>> LoadTorchScriptTeacher(const TeacherOptions& options);

}  // namespace afterimage
