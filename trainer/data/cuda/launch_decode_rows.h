// The CUDA kernel over core/feature/decode_rows.h. Compiled with the preset cuda alone. It has never run: no
// machine with a GPU was at hand. Its arithmetic runs in DecodeRowsOnCpu.
#pragma once

#include "core/feature/decode_rows.h"

struct CUstream_st;

namespace afterimage::trainer::cuda {

// Enqueues one launch on `stream` (a cudaStream_t of the current device): gathers the rows, decodes them,
// puts their exceptions in. All pointers of `rows`, and `target` (num_rows x width values of `type`), are of
// the device's memory and stay valid until the stream has come that far. No launch where there are no rows.
// Returns null, or why it could not be launched (a text that is never freed).
const char* LaunchDecodeRows(const RowsToDecode& rows, FloatType type, void* target, CUstream_st* stream);

}  // namespace afterimage::trainer::cuda
