package distribution_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine is left behind by any request of these tests, broken ones too.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
