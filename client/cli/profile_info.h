// What a profile holds, for people and for machines.
#pragma once

#include <optional>
#include <string>

#include "core/feature/profile.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::cli {

// What calibration measured of one codec: a line for each level, of a set that is stored so; empty where the
// profile keeps nothing of that codec.
std::string ExpectedText(const ProfileFigures& figures, Codec codec);
Json ExpectedJson(const ProfileFigures& figures, Codec codec);

// All of a profile but its means and deviations.
std::string ProfileText(const FeatureProfile& profile);
Json ProfileJson(const FeatureProfile& profile);

}  // namespace afterimage::cli
