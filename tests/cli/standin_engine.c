// SPDX-License-Identifier: Apache-2.0
// Stands in for the engine where only the command line is under test: it can be preloaded and does nothing.
const char enclume_standin_engine[] = "standin";
