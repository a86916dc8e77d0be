// Package storage opens the databases that keys are kept in. A database is named by a DSN whose scheme picks the
// engine; README.md beside this file says what an operator has to know about each.
//
// Every engine is a [core.Store] and passes the suite of package storagetest.
package storage
