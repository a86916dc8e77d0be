package storage

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/transfer"
)

type (
	// CopyOptions are the settings of [Copy].
	CopyOptions = transfer.Options
	// CopyFollow says how a source is followed.
	CopyFollow = transfer.Follow
	// CopyProgress is how far a copy has come.
	CopyProgress = transfer.Progress
	// CopyResult is what a copy has copied.
	CopyResult = transfer.Result
)

// Copy copies the database that the DSN from names into the one that to names, which is created or migrated first: keys
// with their states, the events with their positions, and how far receivers of events have come, as of one moment.
// Nodes may go on using the source. [transfer.Copy] says what is refused. A source that is missing or has another
// schema than this build is [core.FailedPrecondition].
func Copy(ctx context.Context, from, to string, opts Options, o CopyOptions) (*CopyResult, error) {
	if err := checkEnds(ctx, from, to); err != nil {
		return nil, err
	}
	if _, err := MigrateUp(ctx, to, 0); err != nil {
		return nil, err
	}
	source, err := openEnd(ctx, from, opts)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	target, err := openEnd(ctx, to, opts)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	r, err := transfer.Copy(ctx, source, target, o)
	if err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	return r, nil
}

// checkEnds refuses what cannot be copied.
func checkEnds(ctx context.Context, from, to string) error {
	source, err := Canonical(from)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	target, err := Canonical(to)
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	if source == target {
		return core.NewError(core.FailedPrecondition, "the source and the target are the same database")
	}
	s, err := ReadState(ctx, from)
	switch {
	case err != nil:
		return err
	case s.Version != s.Newest:
		return core.NewError(core.FailedPrecondition, fmt.Sprintf("the source has schema version %d, and this build "+
			"copies version %d: bring it up with talos migrate up, or use the build that its nodes run", s.Version,
			s.Newest))
	}
	return nil
}

func openEnd(ctx context.Context, dsn string, opts Options) (transfer.Database, error) {
	e, _, location, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	db, err := e.transfer(ctx, location, opts.Logger)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return db, nil
}
