// SIGINT and SIGTERM as a flag that long-running commands look at.
#pragma once

namespace afterimage {

// Installs handlers for SIGINT and SIGTERM: the first signal sets the flag, a second one ends the process at
// once with exit status 128 + signal. Call once at the start of main, before any thread.
void InstallStopSignalHandlers();

// True once a stop was asked for. Thread-safe, async-signal-safe.
bool StopRequested();

// Asks for a stop as SIGINT would (from a test, or from code that gives up).
void RequestStop();

// Blocks until a stop was asked for, or `milliseconds` have passed; true if it was.
bool WaitForStop(int milliseconds);

// Forgets an earlier request; for tests.
void ResetStopForTest();

// The exit status of a command that a signal ended in good order: 128 + the signal, as shells say it. 130
// after SIGINT; 143 after SIGTERM, by which launchers know that the command is to be started again.
int StoppedExitStatus();

}  // namespace afterimage
