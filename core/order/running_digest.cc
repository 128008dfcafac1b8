#include "core/order/running_digest.h"

#include <string>

#include "core/base/bytes.h"

namespace afterimage {

StepSum SampleSum(uint64_t position, const RecordKey& key, uint32_t mask_index, RecordState state,
                  const Digest128& record_digest) {
  std::string input;
  input.reserve(52);  // 8 + 16 + 4 + 4 + 4 + 8 + 8
  AppendLittleEndian(position, input);
  input.append(reinterpret_cast<const char*>(key.image.bytes.data()), key.image.bytes.size());
  AppendLittleEndian(key.view_seed, input);
  AppendLittleEndian(mask_index, input);
  AppendLittleEndian(static_cast<uint32_t>(state), input);
  AppendLittleEndian(record_digest.low, input);
  AppendLittleEndian(record_digest.high, input);
  const Digest128 digest = Xxh3_128(AsBytes(input));
  return {digest.low, digest.high};
}

Digest128 EpochStartDigest(const Digest256& set_id, const Digest256& order_id, uint64_t epoch,
                           std::span<const Digest256> further_set_ids) {
  std::string input;
  const auto append = [&input](const Digest256& id) {
    input.append(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
  };
  append(set_id);
  append(order_id);
  AppendLittleEndian(epoch, input);
  for (const Digest256& id : further_set_ids) append(id);
  return Xxh3_128(AsBytes(input));
}

Digest128 AdvanceDigest(const Digest128& previous, uint64_t step, const StepSum& sum) {
  std::string input;
  AppendLittleEndian(previous.low, input);
  AppendLittleEndian(previous.high, input);
  AppendLittleEndian(step, input);
  AppendLittleEndian(sum.low, input);
  AppendLittleEndian(sum.high, input);
  return Xxh3_128(AsBytes(input));
}

}  // namespace afterimage
