package upstream

import (
	"testing"

	"github.com/google/uuid"
)

var (
	networkA = uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
	networkB = uuid.MustParse("550e8400-e29b-41d4-a716-446655440002")
)

// bubble is a test on a clock of its own.
type bubble struct{ *testing.T }
