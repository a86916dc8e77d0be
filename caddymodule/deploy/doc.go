// Package deploy has the files with which Talos Edge is run: an image, a Compose file, systemd units, a Kubernetes
// manifest, alert rules and a dashboard. README.md says what to change in each. There is no code; the tests check the
// files, and run them as far as the machine allows.
package deploy
