// Which version of Afterimage this is.
#pragma once

namespace afterimage {

// "1.2.3", as CMakeLists.txt has it.
const char* Version();

}  // namespace afterimage
