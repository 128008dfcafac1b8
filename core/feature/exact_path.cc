#include "core/feature/exact_path.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "core/feature/trellis.h"

namespace afterimage::trellis {
namespace {

// The search for exact paths, one channel after the other: how many exceptions it takes to come into each
// state.
class ExactSearch {
 public:
  ExactSearch(const PackedChannels& channels, int bits, const float* row, uint8_t* codes)
      : channels_(channels),
        steps_(channels.steps(bits)),
        candidates_(CandidatesOf(bits)),
        row_(row),
        codes_(codes) {}

  // From `begin` on, whose state is known, to `least_end` at least, and on until one state is left or the row
  // ends. Writes the codes of what it went through; returns the channel behind that, `begin` where no path
  // goes on.
  size_t Run(size_t begin, size_t least_end) {
    size_t channel = begin;
    while (channel < least_end) {
      const Onward onward = Follow(channel);
      if (onward == Onward::kNowhere) return begin;
      const size_t end = onward == Onward::kOneWay ? channel + 1 : RunWindow(channel);
      if (end == channel) return begin;
      channel = end;
    }
    return channel;
  }

  // That no path but that of the codes leads past this channel and the next one: see the end of
  // SettleExceptions.
  bool IsSafe(size_t channel, float decoded) const {
    if (IsWide(channel) || decoded != row_[channel]) return false;
    constexpr float kBelowTolerance = 0.99f * kPackedTolerance;
    return candidates_.farthest[NearestAt(channel, decoded)] * steps_.step[channel] < kBelowTolerance;
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  enum class Onward : uint8_t { kNowhere, kOneWay, kBothWays };

  bool IsWide(size_t channel) const { return channels_.from_first()[channel] >= 0; }
  size_t NearestAt(size_t channel, float value) const {
    return NearestOf((value - steps_.mean[channel]) * steps_.inverse_step[channel]);
  }
  unsigned StateAt(size_t channel) const {
    const unsigned previous = channel < 1 ? 0 : codes_[channel - 1] & 1u;
    const unsigned before = channel < 2 ? 0 : codes_[channel - 2] & 1u;
    return previous | before << 1;
  }

  // Exceptions that a value costs that comes back as level q: 0, 1, or kNone, where it is neither exact nor
  // one.
  uint32_t CostOf(size_t channel, float q) const {
    const float decoded = q * steps_.step[channel] + steps_.mean[channel];
    if (decoded == row_[channel]) return 0;
    return IsPackedException(row_[channel], decoded) ? 1 : kNone;
  }

  // How many ways lead past a channel whose state is known; the code of one way is written.
  Onward Follow(size_t channel) {
    const size_t nearest = NearestAt(channel, row_[channel]);
    if (IsWide(channel)) {
      codes_[channel] = WideCodeOf(nearest);
      return CostOf(channel, static_cast<float>(nearest) - 128.0f) == kNone ? Onward::kNowhere
                                                                            : Onward::kOneWay;
    }
    const unsigned state = StateAt(channel), which = state >> 1;
    const unsigned even = (state & 1) << 1, odd = even | 1;  // the states that codes lead into from this one
    const auto is_open = [&](unsigned into) {  // without a branch: which of the two it is, is anybody's guess
      const float level = candidates_.level[nearest][SubsetInto(into, which)];
      const float decoded = level * steps_.step[channel] + steps_.mean[channel];
      return static_cast<unsigned>(decoded == row_[channel]) |
             static_cast<unsigned>(IsPackedException(row_[channel], decoded));
    };
    const unsigned even_is_open = is_open(even), odd_is_open = is_open(odd);
    if (even_is_open == odd_is_open) return even_is_open == 0 ? Onward::kNowhere : Onward::kBothWays;
    codes_[channel] = CodeOf(candidates_, nearest, even | odd_is_open, which);
    return Onward::kOneWay;
  }

  // From `begin` on, whose state is known, until one state is left or the row ends: as Run.
  size_t RunWindow(size_t begin) {
    std::array<uint32_t, kStates> counts;
    counts.fill(kNone);
    counts[StateAt(begin)] = 0;
    origins_.clear();
    size_t channel = begin;
    while (channel < channels_.width()) {
      if (!Advance(channel, counts)) return begin;
      ++channel;
      if (std::ranges::count(counts, kNone) == kStates - 1) break;
    }
    WriteBack(begin, channel, counts);
    return channel;
  }

  // False: no state is left.
  bool Advance(size_t channel, std::array<uint32_t, kStates>& counts) {
    std::array<uint32_t, kStates> costs;  // by subset
    const size_t nearest = NearestAt(channel, row_[channel]);
    const bool is_wide = IsWide(channel);
    for (size_t subset = 0; subset < kStates; ++subset) {
      costs[subset] = CostOf(
          channel, is_wide ? static_cast<float>(nearest) - 128.0f : candidates_.level[nearest][subset]);
    }
    std::array<uint32_t, kStates> next;
    unsigned origins = 0;
    for (unsigned state = 0; state < kStates; ++state) {
      const bool forbidden = is_wide && (nearest & 1) != (state & 1);
      const auto through = [&](unsigned which) {
        const uint32_t before = counts[Origin(state, which)], cost = costs[SubsetInto(state, which)];
        return forbidden || before == kNone || cost == kNone ? kNone : before + cost;
      };
      const uint32_t one = through(0), other = through(1);
      next[state] = std::min(one, other);
      origins |= static_cast<unsigned>(other < one) << state;
    }
    counts = next;
    origins_.push_back(static_cast<uint8_t>(origins));
    return std::ranges::count(counts, kNone) < static_cast<ptrdiff_t>(kStates);
  }

  void WriteBack(size_t begin, size_t end, const std::array<uint32_t, kStates>& counts) {
    auto state = static_cast<unsigned>(std::ranges::min_element(counts) - counts.begin());
    for (size_t channel = end; channel-- > begin;) {
      const unsigned which = origins_[channel - begin] >> state & 1;
      const size_t nearest = NearestAt(channel, row_[channel]);
      codes_[channel] = IsWide(channel) ? WideCodeOf(nearest) : CodeOf(candidates_, nearest, state, which);
      state = Origin(state, which);
    }
  }

  const PackedChannels& channels_;
  const I8xChannels& steps_;
  const Candidates& candidates_;
  const float* row_;
  uint8_t* codes_;
  std::vector<uint8_t> origins_;  // as in Scratch, of one row
};

}  // namespace

bool FindExactPath(const PackedChannels& channels, int bits, const float* row, uint8_t* codes) {
  return ExactSearch(channels, bits, row, codes).Run(0, channels.width()) == channels.width();
}

void SettleExceptions(const PackedChannels& channels, int bits, const float* row, const float* decoded,
                      uint8_t* codes) {
  const size_t width = channels.width();
  std::vector<float> kept(decoded, decoded + width);
  std::vector<size_t> exceptions;
  for (size_t channel = 0; channel < width; ++channel) {
    if (!IsPackedException(row[channel], decoded[channel])) continue;
    exceptions.push_back(channel);
    kept[channel] = row[channel];
  }
  ExactSearch search(channels, bits, kept.data(), codes);
  size_t settled = 0;
  for (const size_t exception : exceptions) {
    if (exception < settled) continue;
    // Other paths than that of the codes may be under way here, which count as exceptions what that one has
    // exactly. None is behind two channels where no level is far enough off to be one: the level of the first
    // says in which half the path was, that of the second in which half it is then.
    size_t begin = exception;
    while (begin > settled && !(begin >= settled + 2 && search.IsSafe(begin - 1, decoded[begin - 1]) &&
                                search.IsSafe(begin - 2, decoded[begin - 2]))) {
      --begin;
    }
    settled = search.Run(begin, exception + 1);
  }
}

}  // namespace afterimage::trellis
