//go:build race

package slave

// raceDetector says that tests run several times slower.
const raceDetector = true
