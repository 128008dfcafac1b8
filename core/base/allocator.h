// What malloc does with memory that was given back.
#pragma once

namespace afterimage {

// Tensors and feature blocks come and go by the thousand, each tens of kilobytes to megabytes. As it starts,
// glibc gives most of them back to the system and takes new pages for the next ones: a seventh of
// precompute's CPU time, a third of the server's (docs/benchmarks.md). From here on up to 64 MiB per arena
// are kept. Call first in main, in programs that run teachers, train or serve.
void KeepFreedMemory();

}  // namespace afterimage
