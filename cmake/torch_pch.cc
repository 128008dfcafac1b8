// Compiled only to give the shared precompiled header of LibTorch.cmake a target.
