#include "trainer/distributed/launch.h"

#include <map>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage::trainer {
namespace {

using afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Variables = std::map<std::string, std::string>;

absl::StatusOr<RankLaunch> Find(const Variables& variables, const RankFlags& flags = {}) {
  return FindLaunch(flags, [&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

const Variables kTorchrun = {{"RANK", "5"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"MASTER_ADDR", "node0"},
                             {"MASTER_PORT", "29400"},
                             {"TORCHELASTIC_RUN_ID", "abc"},
                             {"TORCHELASTIC_RESTART_COUNT", "2"},
                             {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Variables kSrun = {{"SLURM_PROCID", "3"},
                         {"SLURM_NTASKS", "4"},
                         {"SLURM_LOCALID", "1"},
                         {"SLURM_STEP_ID", "0"},
                         {"SLURM_STEP_NUM_TASKS", "4"},
                         {"SLURM_JOB_ID", "77"},
                         {"SLURM_JOB_NODELIST", "n[03-05,9],x"}};
const Variables kMpirun = {{"OMPI_COMM_WORLD_RANK", "1"},
                           {"OMPI_COMM_WORLD_SIZE", "2"},
                           {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                           {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                           {"OMPI_MCA_ess_base_jobid", "123"}};

Variables With(Variables variables, const Variables& more) {
  for (const auto& [name, value] : more) variables[name] = value;
  return variables;
}

TEST(LaunchTest, WithoutAnythingThereIsOneRank) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find({}));
  EXPECT_EQ(launch.num_ranks, 1u);
  EXPECT_EQ(launch.rank, 0u);
}

TEST(LaunchTest, TorchrunsAgentKeepsTheStore) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find(kTorchrun));
  EXPECT_EQ(launch.rank, 5u);
  EXPECT_EQ(launch.num_ranks, 8u);
  EXPECT_EQ(launch.local_rank, 1u);
  EXPECT_EQ(launch.host, "node0");
  EXPECT_EQ(launch.port, 29400);
  EXPECT_TRUE(launch.store_exists);
  EXPECT_EQ(launch.session, "abc/2");
  EXPECT_EQ(launch.origin, "torchrun");
}

TEST(LaunchTest, PlainVariablesLetRankZeroKeepIt) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch,
                                  Find({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}}));
  EXPECT_FALSE(launch.store_exists);
  EXPECT_EQ(launch.host, "h");
  EXPECT_EQ(launch.port, 29500);
}

TEST(LaunchTest, MpirunOnOneMachineNeedsNoAddress) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find(kMpirun));
  EXPECT_EQ(launch.rank, 1u);
  EXPECT_EQ(launch.num_ranks, 2u);
  EXPECT_EQ(launch.host, "127.0.0.1");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch other,
                                  Find(With(kMpirun, {{"OMPI_MCA_ess_base_jobid", "124"}})));
  EXPECT_NE(launch.port, other.port) << "two jobs on one machine";
}

TEST(LaunchTest, MpirunOnSeveralMachinesNeedsTheRendezvous) {
  const Variables variables = With(kMpirun, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}});
  EXPECT_THAT(Find(variables).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--rendezvous HOST:PORT")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find(variables, {.rendezvous = "[fe80::1]:4000"}));
  EXPECT_EQ(launch.host, "fe80::1");
  EXPECT_EQ(launch.port, 4000);
}

TEST(LaunchTest, MpichAndIntelMpiSayItWithPmi) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const RankLaunch launch,
      Find({{"PMI_RANK", "1"}, {"PMI_SIZE", "3"}, {"MPI_LOCALNRANKS", "3"}, {"MPI_LOCALRANKID", "1"}}));
  EXPECT_EQ(launch.rank, 1u);
  EXPECT_EQ(launch.local_rank, 1u);
  EXPECT_EQ(launch.host, "127.0.0.1");
}

TEST(LaunchTest, SrunsFirstHostIsRankZeros) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find(kSrun));
  EXPECT_EQ(launch.rank, 3u);
  EXPECT_EQ(launch.num_ranks, 4u);
  EXPECT_EQ(launch.local_rank, 1u);
  EXPECT_EQ(launch.host, "n03");
  EXPECT_EQ(launch.origin, "srun");
  // With PMI2 Slurm sets both.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch pmi,
                                  Find(With(kSrun, {{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}})));
  EXPECT_EQ(pmi.host, "n03");
  EXPECT_EQ(pmi.port, launch.port);
}

TEST(LaunchTest, ABatchScriptWithoutSrunIsOneRank) {
  Variables batch = kSrun;
  batch.erase("SLURM_STEP_ID");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find(batch));
  EXPECT_EQ(launch.num_ranks, 1u);
  batch["SLURM_STEP_ID"] = "4294967291";  // the batch step itself
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch step, Find(batch));
  EXPECT_EQ(step.num_ranks, 1u);
}

TEST(LaunchTest, TheInnermostLauncherCounts) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find(With(kSrun, kTorchrun)));
  EXPECT_EQ(launch.num_ranks, 8u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch mpi, Find(With(kSrun, kMpirun)));
  EXPECT_EQ(mpi.num_ranks, 2u);
}

TEST(LaunchTest, FlagsStandAlone) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch,
                                  Find({}, {.rank = 1, .num_ranks = 2, .rendezvous = "h:1"}));
  EXPECT_EQ(launch.rank, 1u);
  EXPECT_EQ(launch.num_ranks, 2u);
  EXPECT_EQ(launch.host, "h");
  EXPECT_EQ(launch.port, 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch alone, Find(kTorchrun, {.num_ranks = 1}));
  EXPECT_EQ(alone.num_ranks, 1u) << "whatever a launcher says";
}

TEST(LaunchTest, FlagsMayCompleteALauncherAndNotContradictIt) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RankLaunch launch, Find(kSrun, {.rendezvous = "other:9"}));
  EXPECT_EQ(launch.host, "other");
  EXPECT_EQ(launch.rank, 3u);
  EXPECT_THAT(Find(kSrun, {.rank = 2, .num_ranks = 4}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--rank 2"), HasSubstr("srun, which says 3"))));
  EXPECT_THAT(Find(kMpirun, {.num_ranks = 4}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--world-size 4"), HasSubstr("mpirun, which says 2"))));
  EXPECT_THAT(Find(kTorchrun, {.rendezvous = "h:1"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("torchrun has a store of its own")));
}

TEST(LaunchTest, WhatCannotBeIsRefused) {
  const auto refused = [](const Variables& variables, const RankFlags& flags, const char* text) {
    EXPECT_THAT(Find(variables, flags).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  refused({{"RANK", "1"}}, {}, "RANK is set and WORLD_SIZE is not");
  refused({{"WORLD_SIZE", "2"}}, {}, "WORLD_SIZE is set and RANK is not");
  refused({{"RANK", "one"}, {"WORLD_SIZE", "2"}}, {}, "RANK is \"one\"");
  refused({{"RANK", "2"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}}, {}, "no rank 2 of 2");
  refused({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "70000"}}, {},
          "MASTER_PORT is 70000");
  refused({{"RANK", "0"}, {"WORLD_SIZE", "0"}}, {}, "the number of ranks is 0");
  refused({}, {.rank = 1}, "--rank and --world-size go together");
  refused({}, {.num_ranks = 2}, "--rank and --world-size go together");
  refused({}, {.rank = 0, .num_ranks = 2}, "--rendezvous HOST:PORT");
  for (const char* address : {"host", ":1", "host:", "host:0", "host:65536", "host:x"})
    refused({}, {.rank = 0, .num_ranks = 2, .rendezvous = address}, "is no HOST:PORT");
}

TEST(LaunchTest, NodeListsOfSlurm) {
  EXPECT_EQ(FirstHostOfSlurmList("node7"), "node7");
  EXPECT_EQ(FirstHostOfSlurmList("a,b"), "a");
  EXPECT_EQ(FirstHostOfSlurmList("n[03-05,9],x"), "n03");
  EXPECT_EQ(FirstHostOfSlurmList("n[9,11].cluster"), "n9.cluster");
  EXPECT_EQ(FirstHostOfSlurmList("rack[2-3]n[04,6]"), "rack2n04");
  EXPECT_EQ(FirstHostOfSlurmList(""), "");
}

}  // namespace
}  // namespace afterimage::trainer
