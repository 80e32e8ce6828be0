//go:build !race

package slave

const raceDetector = false
