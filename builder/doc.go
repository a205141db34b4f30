// Package builder turns a source tree into an image the engine can start: the step between
// source/, which finds the commit, and fleet/, which runs the result.
//
// A [Plan] says what to build and how; Builder.Build has BuildKit do it in the engine child, and the
// [Result] is in the engine's own image store when it returns, so that nothing is pushed or pulled.
// Managed runtimes are built as App Runner documents it (developer guide, "App Runner service based on
// source code": original and revised builds); a Dockerfile is an extension.
package builder
