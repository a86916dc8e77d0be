package transfer_test

const copyFromEnv, copyToEnv = "TALOS_TEST_COPY_FROM", "TALOS_TEST_COPY_TO"

func copyUntilKilled(from, to string) error { return nil }
