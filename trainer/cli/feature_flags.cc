#include "trainer/cli/feature_flags.h"

#include <cstdint>
#include <string>
#include <tuple>

#include "client/flags/access_flags.h"
#include "client/flags/encoding_flag.h"
#include "client/flags/hedge_flag.h"

namespace afterimage::trainer {
namespace {

// What pre-training and validation both have.
struct Targets {
  FeatureInputOptions& input;
  MissPolicy& miss;
  uint64_t& credit_bytes;
};

void AddFlags(CLI::App& command, const Targets& targets) {
  FeatureInputOptions& input = targets.input;
  const char* const group = "Features";
  command
      .add_option("--cache", input.cache,
                  "address of a cache: a folder, unix:PATH, grpc://HOST:PORT[,HOST:PORT …] or grpcs://…; "
                  "nothing else is "
                  "needed")
      ->group(group);
  AddAccessFlags(command, input.access);
  command
      .add_option_function<double>(
          "--server-timeout", [&input](double seconds) { input.server_timeout = absl::Seconds(seconds); },
          "seconds that a server which is away is waited for (60 at the start; without end in a run)")
      ->check(CLI::Range(0.0, 1e9))
      ->group(group);
  AddHedgeFlag(command, input.hedge_after, group);
  command
      .add_option(
          "--set", input.sets,
          "alias or id, where the cache has more than one set; again for each further teacher (pixels and "
          "masks are the first one's)")
      ->allow_extra_args(false)
      ->delimiter(',')
      ->group(group);
  command
      .add_option("--manifest", input.manifest, "name or digest, where the set has more than one data set")
      ->group(group);
  command
      .add_option("--teacher", input.teacher.weights,
                  "run this teacher (docs/teachers.md) inside the step instead of reading a cache; with "
                  "--miss compute for what the cache lacks")
      ->group(group);
  command
      .add_option("--images", input.images,
                  "the pictures: with --teacher, or where the cache holds no pixels")
      ->group(group);
  command
      .add_option("--images-limit", input.images_limit,
                  "take the first so many pictures, as precompute's --limit (0 = all)")
      ->group(group);
  command
      .add_option("--like", input.like,
                  "with --teacher: a cache whose set says views, levels, codec and masks")
      ->group(group);
  command.add_option("--view-seeds", input.view_seeds, "K: views per picture; 0 = all that the set has")
      ->group(group);
  command.add_flag("--fresh", input.fresh, "with --teacher: a new view in every epoch")->group(group);
  command.add_option("--teacher-heads", input.teacher.num_heads, "where the weights do not tell")
      ->group(group);
  for (const auto& [flag, target, help] :
       {std::tuple{"--teacher-family", &input.teacher.family, "instead of recognising it (docs/teachers.md)"},
        {"--teacher-prefix", &input.teacher.prefix, "look only at tensors whose names begin so"},
        {"--teacher-activation", &input.teacher.activation,
         "gelu or quick_gelu, where the weights do not tell"},
        {"--teacher-eps", &input.teacher.layer_norm_eps, "LayerNorm eps, likewise"},
        {"--teacher-mean", &input.teacher.mean, "pixel mean in [0, 1]: three decimals, comma-separated"},
        {"--teacher-std", &input.teacher.std, "pixel standard deviation, likewise"}}) {
    command.add_option(flag, *target, help)->group(group);
  }
  command
      .add_option("--teacher-input-size", input.teacher.input_size,
                  "side of a live teacher's input, to which each view is resized (0 = the view's)")
      ->group(group);
  command
      .add_option("--view-size", input.teacher.image_size,
                  "side of a live teacher's views (0 = the teacher's own)")
      ->group(group);
  command.add_option("--micro-batch", input.teacher.micro_batch, "of a live teacher")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option_function<std::string>(
          "--miss",
          [targets](const std::string& policy) {
            for (const MissPolicy one :
                 {MissPolicy::kFail, MissPolicy::kSkip, MissPolicy::kWait, MissPolicy::kCompute}) {
              if (policy == MissPolicyName(one)) targets.miss = one;
            }
            targets.input.wait_for_records = targets.miss == MissPolicy::kWait;
            targets.input.compute_misses = targets.miss == MissPolicy::kCompute;
          },
          "what becomes of records that are missing or damaged: fail; skip (weight zero); wait for missing "
          "ones, which a precompute is still making; compute them here, with --teacher and --images (fail)")
      ->check(CLI::IsMember({"fail", "skip", "wait", "compute"}))
      ->group(group);
  AddWireEncodingFlag(command, targets.input.wire_encoding, group,
                      "how features travel from the cache, with the error that this adds (stored)");
  command.add_option("--credit-bytes", targets.credit_bytes, "read-ahead")
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddFeatureFlags(CLI::App& command, PretrainOptions& options) {
  AddFlags(command, {options.input, options.miss, options.credit_bytes});
}

void AddFeatureFlags(CLI::App& command, ValidationOptions& options) {
  AddFlags(command, {options.input, options.miss, options.credit_bytes});
}

void AddMaskFlags(CLI::App& command, FeatureInputOptions& input, const char* group) {
  command
      .add_option_function<std::string>(
          "--mask-type",
          [&input](const std::string& type) {
            input.no_mask = type == "none";
            if (type == "attention") input.mask_type = MaskSpec::Type::kAttention;
            if (type == "random") input.mask_type = MaskSpec::Type::kRandom;
          },
          "attention, random or none (attention)")
      ->check(CLI::IsMember({"attention", "random", "none"}))
      ->group(group);
  command.add_option("--mask-seed", input.mask_seed, "other masks of the same views")
      ->capture_default_str()
      ->group(group);
}

}  // namespace afterimage::trainer
