//go:build testhost

package test

import (
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// runtimeTests are run once more with engine "runtime": those in which a container is made,
// signalled, ended or looked at. Left out are tests of what comes before an engine (polkit,
// the bus, requests, the spool's entries), and tests of podman's own failures.
var runtimeTests = []func(*testing.T){
	TestLaunchDnsmasqServesDHCP, TestLaunchGivesNoMorePrivilegeThanTheProfile,
	TestLaunchMountsOnlyWhatTheArgumentsName, TestLaunchModes, TestLaunchAdopts, TestLaunchOverALeftoverContainer,
	TestLaunchFailureCarriesTheProgramsExitCodeAndOutput, TestLaunchWithoutTheImageSaysWhichOne,
	TestLaunchNotReadyEndsInTime, TestLaunchForeignKillIsAStop, TestLaunchGoesOnWhenTheCallerHangsUp,
	TestProfileDnsmasq, TestProfileHaproxy, TestProfileKeepalived, TestProfileConntrackd, TestProfileDibblerClient,
	TestNetnsAttacksAreRefused, TestHardeningUserHoldsThePayload, TestHardeningNothingOfTheHostIsInherited,
	TestHardeningOutputLeadsNowhere, TestLimitsAreInForce, TestLimitsOutOfMemory, TestConfinementIsInForce,
	TestSELinuxKeepsAgentsApart, TestRestartInTheMiddleOf50Launches, TestRestartOfSystemdWhileLaunchesRun,
	TestSignalTERMAndKILLEndASidecar, TestStopKillsWhatDoesNotEnd, TestHardeningStopEndsAStart,
	TestMonitorTellsALifeInOrder, TestTwinRule, TestShimStartsWatchesAndStopsDnsmasq,
	TestShimStartsReloadsAndKillsHaproxy, TestShimBurstBy30Threads, TestShimKillOfKeepalivedsChild,
	TestShimStandInAfterARestartOfTheAgent, TestShimThroughTheSpool,
	TestLaunchRunsInTheNamespaceAndNoOther, TestLaunchPassesTheProcessTagAndNothingOfOurs,
	TestLaunchFiveTimesAppendsToItsLog, TestLaunchInTheCallersOwnNamespace, TestLaunchInTheHostsNamespaceOnlyIfGranted,
	TestFieldMountElsewhere, TestLaunchModeFailAfterAFailure, TestLaunchWithAPIDFileOfALivingStranger,
	TestLaunchOverALeftoverUnit, TestLaunchLimitOfAnAgent, TestLaunchFailureOfAScript,
	TestLaunchFailureThatTheJournalReadsLate, TestFieldMissingPIDDirectory,
	TestFieldRunIsFull, TestLaunchOddArgumentsSurvive, TestLaunchWhoseCallerLeftBeforeItsTurnIsForgotten,
	TestProfileKeepalivedEndsWithItsChild, TestProfileConntrackdFailsInTheForeground, TestFieldKeepalivedHealthCheck,
	TestNetnsSwapBetweenCheckAndUse, TestShimHostilePrivateMounts, TestHardeningUserIsTheAgentsFilesChoice,
	TestHardeningUserThatAProfileAsksFor, TestHardeningUserThatMayNotWrite, TestHardeningUserOfHaproxy,
	TestHardeningSeccompIsWhatRefuses, TestHardeningForeignPrograms, TestHardeningLentSocket,
	TestHardeningLinkedNamespaces, TestFieldSyslog, TestFieldSyslogOff, TestConcurrentLaunchesOfTheSameInstance,
	TestConcurrentAgentsTakeTurns, TestRestartOfTheDaemonIsNotNoticed, TestRestartOfTheBusWhileLaunchesRun,
	TestReloadOfAnAgentLeavesItsSidecars, TestReloadShowsAnOutdatedImage, TestSignalHUPMakesDnsmasqReadItsHostsAgain,
	TestSignalThatIsNotForSidecarsIsRefused, TestStopEndsTheProcessAndForgetsTheUnit, TestStopForgetsAFailedOne,
	TestHardeningStopAtAnyMoment, TestHardeningStopEndsAllLaunches, TestMonitorTellsAFailedLaunch,
	TestMonitorTellsRestartsBySystemd, TestMonitorOutlivesTheBus, TestDBusLaunch, TestShimStartsAndStopsDibbler,
	TestShimStartsOverWhatIsLeft, TestShimGoesOnWhenTheServiceIsKilled, TestShimKillWhenTheNamespaceIsGone,
	TestShimStandInIsWhatTheAgentSees, TestShimStandInAndKillScripts, TestShimStandInKilledWithoutAKillScript,
	TestShimStandInOfConntrackdIsTheOnlyOne, TestSpoolLaunchIsReady, TestSpoolTellsWhyNot,
	TestSpoolStandInLifeAndRestartOfTheAgent, TestProfileRadvd, TestHardeningSeccompRefuses, TestConcurrentLaunches,
	TestNeutronProcessManager,
}

// shortRuntimeTests is how many of them run with SHORT=1, the first ones: all take six minutes.
const shortRuntimeTests = 16

// TestEngineRuntime runs the tests with engine "runtime" in every profile.
func TestEngineRuntime(t *testing.T) {
	needsEngine(t, runtimeEngine)
	withEngine(t, runtimeEngine)
	tests := runtimeTests
	if testing.Short() {
		tests = tests[:shortRuntimeTests]
	}
	for _, test := range tests {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		t.Run(name[strings.LastIndex(name, ".Test")+len(".Test"):], test)
	}
}
