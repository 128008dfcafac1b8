// What malloc does with memory that was given back.
#pragma once

namespace afterimage {

// Tensors and feature blocks come and go by the thousand, each tens of kilobytes to megabytes. As it starts,
// glibc gives most of them back to the system and takes new pages for the next ones: a tenth of the time
// of a teacher of 28 px (docs/benchmarks.md), a third to a half of the server's (design.md section 7). From
// here on up to 64 MiB per arena are kept. Call first in main, in programs that run teachers, train or serve.
// `max_arenas`: of those that threads share; 0: as glibc decides, up to eight for each core.
void KeepFreedMemory(int max_arenas = 0);

}  // namespace afterimage
