// The checksums of a database's blocks, checked as its files are read.
#pragma once

namespace rocksdb {
class Env;
}

namespace afterimage {

// RocksDB as Debian builds it computes XXH3 with the narrowest registers that any x86-64 has, at a quarter of
// the speed that the processor allows, and takes a block for granted where it is told not to check it: an
// assertion of its own ends the process when one is damaged. So a thread that reads a record has the file
// layer check the block instead, and RocksDB sees no byte that is not what was written.

// The machine's files, which know CheckBlocks. One for the process, never freed.
rocksdb::Env* BlockCheckingEnv();

// While one lives, its thread's reads of files of BlockCheckingEnv are taken to be blocks of a table with a
// kXXH3 checksum, one a read; a read whose bytes do not fit theirs is Corruption. So is one of anything else
// (the table's footer): whoever gets Corruption asks again without it, and has RocksDB say what it is. Not
// for direct reads, which are wider than a block. Not nested.
class CheckBlocks {
 public:
  CheckBlocks();
  ~CheckBlocks();
  CheckBlocks(const CheckBlocks&) = delete;
  CheckBlocks& operator=(const CheckBlocks&) = delete;
};

}  // namespace afterimage
