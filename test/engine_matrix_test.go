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
// the bus, requests, the spool's entries), and those of podman's own failures.
var runtimeTests = []func(*testing.T){
	// launches
	TestLaunchDnsmasqServesDHCP, TestLaunchRunsInTheNamespaceAndNoOther, TestLaunchGivesNoMorePrivilegeThanTheProfile,
	TestLaunchMountsOnlyWhatTheArgumentsName, TestLaunchPassesTheProcessTagAndNothingOfOurs, TestLaunchFiveTimesAppendsToItsLog,
	TestLaunchInTheCallersOwnNamespace, TestLaunchInTheHostsNamespaceOnlyIfGranted, TestFieldMountElsewhere,
	TestLaunchModes, TestLaunchAdopts, TestLaunchModeFailAfterAFailure, TestLaunchWithAPIDFileOfALivingStranger,
	TestLaunchOverALeftoverContainer, TestLaunchOverALeftoverUnit, TestLaunchLimitOfAnAgent,
	TestLaunchFailureCarriesTheProgramsExitCodeAndOutput, TestLaunchFailureOfAScript, TestLaunchWithoutTheImageSaysWhichOne,
	TestFieldMissingPIDDirectory, TestLaunchNotReadyEndsInTime, TestFieldRunIsFull,
	TestLaunchOddArgumentsSurvive, TestLaunchForeignKillIsAStop, TestLaunchGoesOnWhenTheCallerHangsUp,
	TestLaunchWhoseCallerLeftBeforeItsTurnIsForgotten,
	// shipped profiles, with the real programs
	TestProfileDnsmasq, TestProfileHaproxy, TestProfileKeepalived, TestProfileKeepalivedEndsWithItsChild, TestProfileRadvd,
	TestProfileConntrackd, TestProfileConntrackdFailsInTheForeground, TestProfileDibblerClient, TestFieldKeepalivedHealthCheck,
	// network namespaces
	TestNetnsAttacksAreRefused, TestNetnsSwapBetweenCheckAndUse, TestShimHostilePrivateMounts,
	// payloads that are taken over
	TestHardeningUserIsTheAgentsFilesChoice, TestHardeningUserThatAProfileAsksFor, TestHardeningUserThatMayNotWrite,
	TestHardeningUserHoldsThePayload, TestHardeningUserOfHaproxy, TestHardeningNothingOfTheHostIsInherited,
	TestHardeningOutputLeadsNowhere, TestHardeningSeccompRefuses, TestHardeningSeccompIsWhatRefuses, TestHardeningForeignPrograms,
	TestHardeningLentSocket, TestHardeningLinkedNamespaces, TestFieldSyslog, TestFieldSyslogOff,
	TestLimitsAreInForce, TestLimitsOutOfMemory, TestConfinementIsInForce, TestSELinuxKeepsAgentsApart,
	// many at once, and restarts in between
	TestConcurrentLaunches, TestConcurrentLaunchesOfTheSameInstance, TestConcurrentAgentsTakeTurns,
	TestRestartInTheMiddleOf50Launches, TestRestartOfTheDaemonIsNotNoticed, TestRestartOfTheBusWhileLaunchesRun,
	TestRestartOfSystemdWhileLaunchesRun, TestReloadOfAnAgentLeavesItsSidecars, TestReloadShowsAnOutdatedImage,
	// signals, stops, events
	TestSignalHUPMakesDnsmasqReadItsHostsAgain, TestSignalTERMAndKILLEndASidecar, TestSignalThatIsNotForSidecarsIsRefused,
	TestStopEndsTheProcessAndForgetsTheUnit, TestStopKillsWhatDoesNotEnd, TestStopForgetsAFailedOne,
	TestHardeningStopEndsAStart, TestHardeningStopAtAnyMoment, TestHardeningStopEndsAllLaunches,
	TestMonitorTellsALifeInOrder, TestMonitorTellsAFailedLaunch, TestMonitorTellsRestartsBySystemd, TestMonitorOutlivesTheBus,
	TestTwinRule, TestDBusLaunch,
	// agents
	TestShimStartsWatchesAndStopsDnsmasq, TestShimStartsReloadsAndKillsHaproxy, TestShimStartsAndStopsDibbler,
	TestShimStartsOverWhatIsLeft, TestShimBurstBy30Threads, TestShimGoesOnWhenTheServiceIsKilled,
	TestShimKillOfKeepalivedsChild, TestShimKillWhenTheNamespaceIsGone,
	TestShimStandInIsWhatTheAgentSees, TestShimStandInAfterARestartOfTheAgent, TestShimStandInAndKillScripts,
	TestShimStandInKilledWithoutAKillScript, TestShimStandInOfConntrackdIsTheOnlyOne,
	TestShimThroughTheSpool, TestSpoolLaunchIsReady, TestSpoolTellsWhyNot, TestSpoolStandInLifeAndRestartOfTheAgent,
	TestNeutronProcessManager,
}

// TestEngineRuntime runs the tests with engine "runtime" in every profile.
func TestEngineRuntime(t *testing.T) {
	needsEngine(t, runtimeEngine)
	withEngine(t, runtimeEngine)
	for _, test := range runtimeTests {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		t.Run(name[strings.LastIndex(name, ".Test")+len(".Test"):], test)
	}
}
