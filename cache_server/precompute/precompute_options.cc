#include "cache_server/precompute/precompute_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/flags/access_flags.h"
#include "client/flags/codec_check.h"
#include "core/base/status_macros.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {
namespace {

// A probability or share given as a decimal becomes a ratio of integers, exact to six digits, in lowest terms.
absl::StatusOr<Ratio> ToRatio(double value, const char* flag) {
  if (!(value >= 0 && value <= 1)) return absl::InvalidArgumentError(absl::StrCat(flag, " must lie in [0, 1]"));
  uint32_t numerator = static_cast<uint32_t>(std::llround(value * 1e6)), denominator = 1'000'000;
  for (uint32_t prime : {2u, 5u}) {
    while (numerator % prime == 0 && denominator % prime == 0) {
      numerator /= prime;
      denominator /= prime;
    }
  }
  return Ratio{numerator, numerator == 0 ? 1 : denominator};
}

absl::StatusOr<ViewSpec> DescribeView(const PrecomputeOptions& options, uint32_t size) {
  ViewSpec view;
  view.size = size;
  if (options.view == "resize_center_crop") {
    view.crop = ViewSpec::Crop::kResizeCenterCrop;
    view.resize_shorter = options.resize_shorter != 0 ? options.resize_shorter : size * 8 / 7;
  } else {
    AFTERIMAGE_ASSIGN_OR_RETURN(view.min_area, ToRatio(options.min_area, "--min-area"));
    AFTERIMAGE_ASSIGN_OR_RETURN(view.flip_probability, ToRatio(options.flip, "--flip"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(view.Validate());
  return view;
}

absl::Status TakeProfile(const PrecomputeOptions& options, const FeatureProfile* profile,
                         const TeacherGeometry& geometry, SetSpec& set) {
  if (profile->feature_id() != set.feature_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("--profile ", options.profile, " is of feature id ", profile->feature_id().Hex(),
                     ", this teacher with these views has ", set.feature_id.Hex(),
                     ": calibrate on a set of the same teacher and views"));
  }
  for (const uint32_t level : set.levels) {
    if (profile->FindLevel(level) != nullptr && profile->width() == geometry.width) continue;
    return absl::FailedPreconditionError(absl::StrCat("--profile ", options.profile, " (",
                                                      profile->digest().Hex(), ") has no level ", level,
                                                      " of width ", geometry.width));
  }
  set.profile_digest = profile->digest();
  return absl::OkStatus();
}

}  // namespace

void DeclarePrecomputeFlags(CLI::App& app, PrecomputeOptions& o) {
  app.add_option("--images", o.images, "folder, tar file or pattern of tars, or idx file with the images")->required();
  app.add_option("--limit", o.limit, "keep the first N images of the source (0 = all)")->capture_default_str();
  app.add_option("--cache", o.cache, "folder, unix:PATH, grpc://HOST:PORT or grpcs://HOST:PORT (TLS)")
      ->required();
  AddAccessFlags(app, o.access);
  app.add_option("--teacher", o.teacher.weights, "weights of the teacher: .safetensors, an index of shards, or a folder")->required();
  app.add_option("--teacher-family", o.teacher.family, "instead of recognising it: timm_vit, hf_clip, … (docs/teachers.md)");
  app.add_option("--teacher-prefix", o.teacher.prefix, "look only at tensors whose names begin so");
  app.add_option("--teacher-heads", o.teacher.num_heads, "attention heads, where no config tells")->capture_default_str();
  app.add_option("--teacher-activation", o.teacher.activation, "gelu or quick_gelu, instead of the family's");
  app.add_option("--teacher-eps", o.teacher.layer_norm_eps, "LayerNorm eps, instead of the family's");
  app.add_option("--teacher-mean", o.teacher.mean, "pixel mean in [0, 1]: three decimals, comma-separated");
  app.add_option("--teacher-std", o.teacher.std, "pixel standard deviation, likewise");
  app.add_option("--view-size", o.teacher.image_size, "side of the views (0 = the teacher's own)")->capture_default_str();
  app.add_option("--teacher-input-size", o.teacher.input_size,
                 "side of the teacher's input, to which each view is resized (0 = the view's): 196 for CLIP-L/14")->capture_default_str();
  app.add_option("--device", o.teacher.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--teacher-threads", o.teacher.num_threads, "intra-op threads of the teacher (0 = all cores)")->capture_default_str();
  app.add_option("--micro-batch", o.teacher.micro_batch, "views per forward, padded")->capture_default_str();

  app.add_option("--view-seeds", o.num_view_seeds, "K: augmentation seeds per image; can grow later")
      ->check(CLI::Range(1u, 1u << 24))->capture_default_str();
  app.add_option("--view", o.view, "how views are made")
      ->check(CLI::IsMember({"random_resized_crop", "resize_center_crop"}))->capture_default_str();
  app.add_option("--min-area", o.min_area, "smallest crop, as a share of the image's area")->capture_default_str();
  app.add_option("--flip", o.flip, "probability of a horizontal flip")->capture_default_str();
  app.add_option("--resize-shorter", o.resize_shorter, "shorter side before the centre crop (0 = 8/7 of the view)")->capture_default_str();

  app.add_option("--levels", o.levels, "teacher levels to store: topN, all, or a list such as 8,10,12")->capture_default_str();
  app.add_option("--tokens", o.tokens, "all tokens, or the visible ones of the masks drawn now")
      ->check(CLI::IsMember({"all", "visible"}))->capture_default_str();
  app.add_option("--mask-ratio", o.mask_ratio, "share of patches hidden (with --tokens visible)")->capture_default_str();
  app.add_option("--mask-type", o.mask_type, "what masks are drawn from")
      ->check(CLI::IsMember({"attention", "random"}))->capture_default_str();
  app.add_option("--masks", o.masks_per_view, "M: masks per view")->check(CLI::Range(1u, 1024u))->capture_default_str();
  app.add_option("--mask-seed", o.mask_seed, "seed of the masks")->capture_default_str();
  app.add_option("--importance-from", o.importance_from,
                 "alias or id of another teacher's set in the same cache: masks are drawn from that teacher's importance (several teachers)");
  app.add_option("--pixels", o.pixels,
                 "store the views' pixels, so that trainers need no images: packed without loss, or raw")
      ->check(CLI::IsMember(PixelsNames()))
      ->capture_default_str();
  app.add_option(
         "--codec", o.codec,
         "how values are stored (default: i8x, one byte a value; f32 for equality with a live teacher)")
      ->check(IsCodecName());
  app.add_option("--max-rmse", o.max_rmse,
                 "instead of --codec: the smallest one with this error at most, relative to a token's "
                 "length, such as 0.02")
      ->check(CLI::PositiveNumber);
  app.add_option(
      "--max-bytes", o.max_bytes,
      "instead of --codec: the most exact one that takes this much at most per view seed, e.g. 100GB");
  app.add_option("--profile", o.profile,
                 "name or digest of a profile in the cache (default: calibrated at the first start)");
  app.add_option("--samples", o.samples, "views to calibrate on")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 24))
      ->capture_default_str();
  app.add_flag("--recalibrate", o.recalibrate, "make another set although the same was asked for before");

  app.add_option("--name", o.name, "readable name for the set");
  app.add_option("--manifest-name", o.manifest_name, "readable name for the data set");
  app.add_subcommand(
         "calibrate",
         "makes a profile for codecs from the images and stores it (--name names it); prints what "
         "each codec would cost and lose; makes no set")
      ->fallthrough()
      ->callback([&o] { o.calibrate_only = true; });
  app.add_option("--png", o.png, "of calibrate: write a picture of rates and errors to this file");
  app.add_flag("--plan", o.plan_only, "print size, time and break-even, and compute nothing");
  app.add_option("--epochs", o.planned_epochs, "epochs of a training run, for the plan's repeats")->capture_default_str();
  app.add_option("--quota", o.quota, "hard limit for the cache folder, e.g. 500GB");
  app.add_option("--threads", o.threads, "threads for decoding, and as many for encoding (0 = half the cores)")->capture_default_str();
  app.add_option("--worker", o.worker, "name of this worker (default: host, process, time)");
  app.add_flag("--seed-major", o.seed_major, "finish one view seed for all images before the next");
  app.add_option("--lease-seconds", o.lease_seconds, "how long a silent worker keeps its units")
      ->check(CLI::Range(1.0, absl::ToDoubleSeconds(kMaxLeaseDuration)))
      ->capture_default_str();
  app.add_option("--error-sample", o.error_sample,
                 "share of the records on which the codec's error is measured and kept for "
                 "afterimage info")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_flag("--json", o.json, "plan, progress and summary as JSON lines");
  app.add_flag("--quiet", o.quiet, "no progress");
}

absl::StatusOr<std::vector<uint32_t>> ParseLevels(const std::string& text, uint32_t num_levels) {
  if (text == "all") return LastLevels(num_levels, num_levels);
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "top")) {
    uint32_t count = 0;
    if (!absl::SimpleAtoi(rest, &count) || count == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--levels ", text, ": after 'top' comes a number above 0"));
    }
    return LastLevels(num_levels, count);
  }
  std::vector<uint32_t> levels;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    uint32_t level = 0;
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(part), &level) || level < 1 || level > num_levels) {
      return absl::InvalidArgumentError(absl::StrCat("--levels ", text, ": '", part, "' is not a level; this teacher has 1 to ",
                                                     num_levels, "; also: topN, all"));
    }
    levels.push_back(level);
  }
  std::sort(levels.begin(), levels.end());
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  return levels;
}

absl::StatusOr<std::optional<Codec>> NamedCodec(const PrecomputeOptions& options) {
  const bool has_limits = options.max_rmse.has_value() || !options.max_bytes.empty();
  if (has_limits && (!options.codec.empty() || !options.profile.empty())) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.max_rmse.has_value() ? "--max-rmse" : "--max-bytes",
                     " chooses the codec: leave ", options.codec.empty() ? "--profile" : "--codec", " out"));
  }
  if (has_limits) return std::optional<Codec>();
  if (options.codec.empty()) return std::optional<Codec>(Codec::kI8x);
  AFTERIMAGE_ASSIGN_OR_RETURN(const Codec codec, ParseCodec(options.codec));
  if (!options.profile.empty() && !NeedsProfile(codec)) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec ", options.codec, " has no profile: leave --profile out"));
  }
  return std::optional<Codec>(codec);
}

bool NeedsCalibration(const PrecomputeOptions& options) {
  const absl::StatusOr<std::optional<Codec>> codec = NamedCodec(options);
  if (!codec.ok() || !options.profile.empty()) return false;
  return !codec->has_value() || NeedsProfile(**codec);
}

absl::StatusOr<SetDescription> DescribeSet(const PrecomputeOptions& options, const TeacherRunner& teacher,
                                           const FeatureProfile* profile) {
  SetDescription description;
  AFTERIMAGE_ASSIGN_OR_RETURN(const ViewSpec view, DescribeView(options, teacher.view_size()));
  description.feature = MakeFeatureSpec(teacher, view);
  SetSpec& set = description.set;
  set.feature_id = description.feature.Id();
  AFTERIMAGE_ASSIGN_OR_RETURN(set.levels, ParseLevels(options.levels, teacher.geometry().num_levels));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<Codec> codec, NamedCodec(options));
  set.codec = NeedsCalibration(options) ? Codec::kF32 : *codec;
  if (NeedsProfile(set.codec)) {
    if (profile == nullptr)
      return absl::InvalidArgumentError("--profile was not looked up");  // a broken invariant of ours
    AFTERIMAGE_RETURN_IF_ERROR(TakeProfile(options, profile, teacher.geometry(), set));
  }
  AFTERIMAGE_RETURN_IF_ERROR(SetPixels(options.pixels, set));
  if (options.tokens == "all") {
    set.token_policy = TokenPolicy::kAll;
  } else {
    set.token_policy = TokenPolicy::kVisible;
    set.mask.type = options.mask_type == "random" ? MaskSpec::Type::kRandom : MaskSpec::Type::kAttention;
    if (!(options.mask_ratio >= 0 && options.mask_ratio < 1)) {
      return absl::InvalidArgumentError(absl::StrCat("--mask-ratio ", options.mask_ratio, " is not in [0, 1)"));
    }
    set.mask.num_visible = NumVisible(teacher.geometry().num_patches(), options.mask_ratio);
    set.mask.mask_seed = options.mask_seed;
    set.mask.num_masks = options.masks_per_view;
    if (set.mask.num_visible == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--mask-ratio ", options.mask_ratio, " leaves none of ",
                                                     teacher.geometry().num_patches(), " patches visible: choose a smaller one"));
    }
  }
  AFTERIMAGE_RETURN_IF_ERROR(description.Validate());
  return description;
}

}  // namespace afterimage
