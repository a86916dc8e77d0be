// Package doctor reports what is wrong with a set-up: a configuration, its database and secrets, and the machine. Each
// [Check] is a small function that looks at one thing. None of them changes anything, makes a file or prints a secret;
// the database is opened read-only. Free ports are listened on for a moment, apps that gates protect are connected to,
// and a sidecar's upstream gets one verification of a made-up credential.
package doctor
