#include "client/cli/profile_info.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace afterimage::cli {
namespace {

Json ToJson(const CodecFigures& row) {
  return {{"level", row.level},
          {"bytes_per_value", row.bytes_per_value},
          {"rmse", row.rmse},
          {"largest_error", row.largest_error},
          {"worst_token_cosine", row.worst_cosine}};
}

}  // namespace

std::string ExpectedText(const ProfileFigures& figures, Codec codec) {
  std::string text;
  for (const CodecFigures& row : figures.rows) {
    if (row.codec != codec) continue;
    absl::StrAppendFormat(
        &text,
        "  expected level %d: RMSE %.5f, largest %.4f, worst cosine %.6f, %.4f bytes/value, "
        "calibrated with %d records\n",
        row.level, row.rmse, row.largest_error, row.worst_cosine, row.bytes_per_value, figures.num_records);
  }
  return text;
}

Json ExpectedJson(const ProfileFigures& figures, Codec codec) {
  Json rows = Json::array();
  for (const CodecFigures& row : figures.rows) {
    if (row.codec == codec) rows.push_back(ToJson(row));
  }
  return rows;
}

std::string ProfileText(const FeatureProfile& profile) {
  const ProfileContent& content = profile.content();
  std::string text = absl::StrFormat(
      "profile    %s\n  feature  %s\n  from     %d records, %d tokens of %d levels x %d channels\n",
      profile.digest().Hex(), content.feature_id.Hex(), content.num_records, content.num_rows,
      content.levels.size(), content.width);
  for (const LevelProfile& level : content.levels) {
    absl::StrAppendFormat(
        &text, "  level    %d: steps of i8x are %.4g/127 deviations, %d channels wide in i4x to i6x\n",
        level.level, level.i8x_clip, level.wide.size());
  }
  const ProfileFigures& figures = profile.figures();
  if (figures.empty()) return text + "  nothing was measured with it\n";
  absl::StrAppendFormat(&text, "  measured on %d records\n%-16s %5s %11s %9s %9s %13s\n", figures.num_records,
                        "codec", "level", "bytes/value", "RMSE", "largest", "worst cosine");
  for (const CodecFigures& row : figures.rows) {
    absl::StrAppendFormat(&text, "%-16s %5d %11.4f %9.5f %9.4f %13.6f\n", CodecName(row.codec), row.level,
                          row.bytes_per_value, row.rmse, row.largest_error, row.worst_cosine);
  }
  return text;
}

Json ProfileJson(const FeatureProfile& profile) {
  const ProfileContent& content = profile.content();
  Json levels = Json::array(), codecs = Json::object();
  for (const LevelProfile& level : content.levels) {
    levels.push_back({{"level", level.level}, {"i8x_clip", level.i8x_clip}, {"wide_channels", level.wide}});
  }
  for (const CodecFigures& row : profile.figures().rows) {
    const std::string name = CodecName(row.codec);
    if (!codecs.contains(name)) codecs[name] = ExpectedJson(profile.figures(), row.codec);
  }
  return {{"profile", profile.digest().Hex()},
          {"feature_id", content.feature_id.Hex()},
          {"records", content.num_records},
          {"rows", content.num_rows},
          {"width", content.width},
          {"levels", levels},
          {"measured_records", profile.figures().num_records},
          {"codecs", codecs}};
}

}  // namespace afterimage::cli
