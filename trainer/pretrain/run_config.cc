#include "trainer/pretrain/run_config.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "trainer/checkpoint/same_config.h"
#include "trainer/model/vit_init.h"

namespace afterimage::trainer {
namespace {

absl::Status Differs(absl::string_view what, absl::string_view before, absl::string_view now) {
  return absl::FailedPreconditionError(
      absl::StrCat("the checkpoint has another ", what, ": ", before, ", this run ", now, kOtherRunRemedy));
}

}  // namespace

double LearningRate(const PretrainOptions& options) {
  return options.lr > 0 ? options.lr : options.blr * static_cast<double>(options.batch_size) / 256.0;
}

double WarmupEpochs(const PretrainOptions& options) {
  return options.warmup_epochs >= 0 ? options.warmup_epochs : static_cast<double>(options.epochs) / 10.0;
}

absl::StatusOr<VitConfig> StudentConfig(const PretrainOptions& options, int64_t view_size, int64_t grid) {
  VitConfig vit;
  if (!NamedVit(options.model, vit)) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown model \"", options.model,
                     "\": vit_tiny, vit_small, vit_base, vit_large and vit_huge are "
                     "known; --width, --depth and --heads change them"));
  }
  if (options.width > 0) vit.width = options.width;
  if (options.depth > 0) vit.depth = options.depth;
  if (options.heads > 0) vit.heads = options.heads;
  vit.mlp_width = 4 * vit.width;
  vit.image_size = view_size;
  vit.patch_size = view_size / grid;
  AFTERIMAGE_RETURN_IF_ERROR(vit.Validate());
  if (vit.width % 4 != 0)
    return absl::InvalidArgumentError("the sin-cos positions need a width that 4 divides");
  return vit;
}

Json RunConfig(const PretrainOptions& options, const VitConfig& vit, size_t num_teachers) {
  Json config = {{"image_size", vit.image_size},
                 {"patch_size", vit.patch_size},
                 {"width", vit.width},
                 {"depth", vit.depth},
                 {"heads", vit.heads},
                 {"fusion", options.fusion},
                 {"head", options.head},
                 {"target_norm", options.target_norm},
                 {"loss_type", options.loss_type},
                 {"loss_weights", options.loss_weights},
                 {"batch_size", options.batch_size},
                 {"accumulate", options.accumulate},
                 {"epochs", options.epochs},
                 {"lr", DecimalText(LearningRate(options))},
                 {"min_lr", DecimalText(options.min_lr)},
                 {"warmup_epochs", DecimalText(WarmupEpochs(options))},
                 {"weight_decay", DecimalText(options.weight_decay)},
                 {"beta1", DecimalText(options.beta1)},
                 {"beta2", DecimalText(options.beta2)},
                 {"drop_path", DecimalText(options.drop_path)},
                 {"clip_grad", DecimalText(options.clip_grad)},
                 {"ema", DecimalText(options.ema)},
                 {"precision", options.precision},
                 {"seed", options.seed}};
  // Constant ones are in the order and in the feature id.
  const FeatureInputOptions& input = options.input;
  if (input.mask_ratio.has_value() && !input.mask_ratio->is_constant())
    config["mask_ratio"] = input.mask_ratio->Text();
  if (input.min_area.has_value() && !input.min_area->is_constant())
    config["min_area"] = input.min_area->Text();
  // Another encoding is other numbers.
  if (input.wire_encoding != Selection::Encoding::kStored)
    config["wire_encoding"] = EncodingName(input.wire_encoding);
  if (num_teachers > 1)
    config["teacher_weights"] = options.teacher_weights.empty() ? "mean" : options.teacher_weights;
  return config;
}

absl::Status CheckSameData(const StepToken& before, const StepToken& now) {
  if (before.feature_id != now.feature_id)
    return Differs("feature id", before.feature_id.Hex(), now.feature_id.Hex());
  if (before.set_id != now.set_id) return Differs("set", before.set_id.Hex(), now.set_id.Hex());
  if (before.further_set_ids != now.further_set_ids) {
    const auto list = [](const StepToken& token) {
      return absl::StrJoin(token.further_set_ids, ", ",
                           [](std::string* out, const Digest256& id) { absl::StrAppend(out, id.Hex()); });
    };
    return Differs("list of further sets", absl::StrCat("[", list(before), "]"),
                   absl::StrCat("[", list(now), "]"));
  }
  if (before.order.num_view_seeds != now.order.num_view_seeds) {  // the set may have grown
    return Differs("number of view seeds", absl::StrCat(before.order.num_view_seeds),
                   absl::StrCat(now.order.num_view_seeds, " (--view-seeds says how many to use)"));
  }
  if (before.order != now.order)
    return Differs("order", before.order.ToCanonical().dump(), now.order.ToCanonical().dump());
  if (before.global_batch != now.global_batch) {
    return Differs("global batch", absl::StrCat(before.global_batch), absl::StrCat(now.global_batch));
  }
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
