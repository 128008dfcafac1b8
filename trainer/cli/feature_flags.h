// Where features come from, as flags: a cache, or a live teacher.
#pragma once

#include <CLI/CLI.hpp>

#include "trainer/data/feature_input.h"
#include "trainer/pretrain/pretrainer.h"
#include "trainer/pretrain/validation.h"

namespace afterimage::trainer {

// `options` must live as long as the app.
void AddFeatureFlags(CLI::App& command, PretrainOptions& options);
void AddFeatureFlags(CLI::App& command, ValidationOptions& options);

// What masks are drawn from, and with which seed.
void AddMaskFlags(CLI::App& command, FeatureInputOptions& input, const char* group);

}  // namespace afterimage::trainer
