// The one configuration of RocksDB that a set's database has, and why.
#pragma once

#include "rocksdb/options.h"

namespace afterimage {

// For the database and for SstFileWriter alike.
//   plain block-based tables, no compression: blocks are dense already, and BlobDB's CRC32C is software here
//   one data block per key, whatever its size: a read touches nothing else, and damage has one victim
//   XXH3 block checksums and whole-file checksums from the first file on
//   a block cache of no size: it gives a block to whoever is reading it and keeps none. Without one RocksDB
//   copies each value out of its block. The page cache holds the bytes once for all processes
//   no automatic compaction: files of different shards never overlap, so each lands in the last level as it
//   is
rocksdb::Options SetDatabaseOptions(bool direct_reads);

rocksdb::ReadOptions RecordReadOptions(bool verify_checksums);

}  // namespace afterimage
