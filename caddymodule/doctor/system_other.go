//go:build !linux && !darwin

package doctor

func ownerOf(string) (uid uint32, ok bool) { return 0, false }

func freeSpace(string) (free uint64, ok bool) { return 0, false }

func openFiles() (limit uint64, ok bool) { return 0, false }
