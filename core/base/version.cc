#include "core/base/version.h"

namespace afterimage {

const char* Version() { return AFTERIMAGE_VERSION; }

}  // namespace afterimage
