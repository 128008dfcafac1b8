// How OpenMP's threads wait.
#pragma once

namespace afterimage {

// OpenMP's threads would spin between two parallel regions and take the cores from the threads that decode and encode beside them (5-8
// times slower under contention). The library reads OMP_WAIT_POLICY when it is loaded, so the program starts itself again with
// PASSIVE unless the variable is set. Call first in main; returns where nothing is to be done or the restart fails (then we are merely slower).
void UsePassiveOpenMp(char** argv);

}  // namespace afterimage
