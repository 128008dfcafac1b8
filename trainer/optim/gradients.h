// Clipping by the global norm.
#pragma once

#include "core/vit/vit.h"

namespace afterimage::trainer {

// The Euclidean norm of all gradients of `parameters` taken as one vector. Where it is above `max_norm` (>
// 0), every gradient is scaled by max_norm / (norm + 1e-6), in place. A norm that is not finite scales
// nothing.
double ClipGradients(const ParameterMap& parameters, double max_norm);

// As before any backward.
void DropGradients(const ParameterMap& parameters);

}  // namespace afterimage::trainer
