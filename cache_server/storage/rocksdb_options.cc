#include "cache_server/storage/rocksdb_options.h"

#include <memory>
#include <utility>

#include "cache_server/storage/block_checks.h"
#include "cache_server/storage/xxh3_file_checksum.h"
#include "rocksdb/cache.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/flush_block_policy.h"
#include "rocksdb/table.h"

namespace afterimage {
namespace {

// Ends a data block before each key but the first.
class BlockPerKey : public rocksdb::FlushBlockPolicy {
 public:
  bool Update(const rocksdb::Slice&, const rocksdb::Slice&) override {
    return !std::exchange(is_first_, false);
  }

 private:
  bool is_first_ = true;
};

class BlockPerKeyFactory : public rocksdb::FlushBlockPolicyFactory {
 public:
  const char* Name() const override { return "AfterimageBlockPerKey"; }
  rocksdb::FlushBlockPolicy* NewFlushBlockPolicy(const rocksdb::BlockBasedTableOptions&,
                                                 const rocksdb::BlockBuilder&) const override {
    return new BlockPerKey;
  }
};

}  // namespace

rocksdb::Options SetDatabaseOptions(bool direct_reads) {
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  table.flush_block_policy_factory = std::make_shared<BlockPerKeyFactory>();
  constexpr double kBloomBitsPerKey = 10;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.block_cache = rocksdb::NewLRUCache(/*capacity=*/0);
  // An index of one entry a record: prefixes shared by 16 entries take a fifth off a server's memory with 10^6
  // records, and a search reads fewer cache lines.
  table.index_block_restart_interval = 16;
  table.cache_index_and_filter_blocks = false;

  rocksdb::Options options;
  options.env = BlockCheckingEnv();
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  options.bottommost_compression = rocksdb::kDisableCompressionOption;
  options.file_checksum_gen_factory = Xxh3FileChecksumFactory();
  options.disable_auto_compactions = true;
  options.max_open_files = -1;                     // what a follower needs, and what spares a lookup per read
  options.manifest_preallocation_size = 64 << 10;  // not 4 MiB of what is left of a nearly full disk
  options.use_direct_reads = direct_reads;
  options.skip_stats_update_on_db_open = true;  // it would read a block of every file
  options.max_background_jobs = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.keep_log_file_num = 2;
  // Nothing is ever put: the memtable stays empty.
  options.write_buffer_size = 64 << 10;
  options.avoid_flush_during_shutdown = true;
  return options;
}

rocksdb::ReadOptions RecordReadOptions(bool verify_checksums) {
  rocksdb::ReadOptions options;
  options.verify_checksums = verify_checksums;
  return options;
}

}  // namespace afterimage
