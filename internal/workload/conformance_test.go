package workload_test

import (
	"testing"

	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/store/storetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestRegistryOnSQLite(t *testing.T) { conformance(t, storetest.Open) }

func TestRegistryWithConflicts(t *testing.T) { conformance(t, storetest.OpenConflicting) }

func TestRegistryOnPostgreSQL(t *testing.T) { conformance(t, storetest.Postgres(t)) }

// conformance is what a Registry promises on every engine.
func conformance(t *testing.T, open opener) {
	for name, test := range map[string]func(*testing.T, *fixture){
		"a workload's life":                           testLife,
		"a list is oldest first":                      testListOrder,
		"an update changes only what it names":        testUpdate,
		"a second tenant sees and changes nothing":    testIsolation,
		"names that cannot be":                        testNamesThatCannotBe,
		"the kinds do not know each other":            testKinds,
		"changes are announced":                       testChanges,
		"only a ready workload has an address":        testStates,
		"backends are admitted by scope and rules":    testAdmission,
		"a name taken gets a suffix":                  testSuffix,
		"a deleted id is kept for thirty days":        testKeptID,
		"an id with a suffix comes back":              testSuffixComesBack,
		"a reservation holds a name for a year":       testReservation,
		"a reservation is renewed by its owner":       testRenewal,
		"what is in use cannot be reserved":           testReserveInUse,
		"a reserved name is preferred to a suffix":    testReservedAfterSuffix,
		"only a token's hash is kept":                 testTokenHashed,
		"names of the platform are nobody's":          testPlatformNames,
		"quotas hold":                                 testQuota,
		"reservations have a quota":                   testReservationQuota,
		"making and deleting does not take all":       testChurn,
		"an environment is sealed":                    testEnvSealed,
		"a hidden value stays":                        testEnvHidden,
		"an environment has bounds":                   testEnvBounds,
		"tenants who create one name at once":         testConcurrentTenants,
		"one tenant that creates one name many times": testConcurrentName,
		"a quota under concurrent creates":            testConcurrentQuota,
		"tenants who reserve one name at once":        testConcurrentReservations,
		"reserving against creating":                  testReserveAgainstCreate,
		"creating against deleting":                   testCreateAgainstDelete,
		"a version's life":                            testVersionLife,
		"deployed elsewhere":                          testDeployedElsewhere,
		"a failed update leaves what was":             testFailedUpdate,
		"of many updates the last one counts":         testSuperseded,
		"a rollback needs no build":                   testRollback,
		"what a rollback refuses":                     testRollbackRefusals,
		"a changed environment starts anew":           testRestart,
		"a start that failed is tried with changes":   testRetry,
		"a backend takes the place of versions":       testToBackend,
		"a version takes the place of a backend":      testToManaged,
		"sources are checked":                         testSources,
		"old versions are pruned":                     testPrune,
		"versions have a quota":                       testVersionQuota,
		"inline files are not kept for ever":          testInlineFiles,
		"what waits holds no files":                   testWorkIsLean,
		"users are given once":                        testIdentities,
		"events are kept in bounds":                   testEvents,
		"hosts of their own":                          testDomains,
		"a host that was another's":                   testDomainOfAnother,
		"hosts are bounded":                           testDomainsAreBounded,
		"hosts that were a tenant's":                  testFormerDomainsAreBounded,
		"hosts that lead nowhere":                     testForgottenDomains,
		"hosts that change at once":                   testConcurrentDomains,
		"numbers go on after a delete":                testNumbersGoOn,
		"logs are read by parts":                      testLogs,
		"a second tenant reaches no version":          testManagedIsolation,
		"credentials are sealed":                      testCredentials,
		"a host's keys are learnt once":               testLearnHost,
		"an upload is kept until it is built":         testUpload,
		"uploads have bounds":                         testUploadBounds,
		"many uploads at once keep the quota":         testConcurrentUploads,
		"the journal is seen at once and written":     testJournal,
		"the journal does not undo a promotion":       testJournalOrder,
		"two updates at once":                         testConcurrentUpdates,
		"the list while versions replace each other":  testListWhilePromoting,
		"a delete while a version advances":           testDeleteWhileAdvancing,
		"a rollback while updating":                   testRollbackWhileUpdating,
		"what is left after a death":                  testAfterDeath,
	} {
		t.Run(name, func(t *testing.T) { test(t, newFixture(t, open)) })
	}
	t.Run("ids under random use", func(t *testing.T) { testModel(t, open) })
	t.Run("versions under random use", func(t *testing.T) { testVersionModel(t, open) })
}
