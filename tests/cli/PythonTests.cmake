# SPDX-License-Identifier: Apache-2.0
# enclume_python_tests(FILE PREFIX prefix [CLASS class] [LABELS labels...] [ENVIRONMENT settings...]
#                      [TIMEOUT seconds])
# Makes one ctest entry of each test method in a file of unittest classes, or in one class of it:
# PREFIX.Class.method.
function(enclume_python_tests file)
  cmake_parse_arguments(ARG "" "PREFIX;CLASS;TIMEOUT" "LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  get_filename_component(module ${file} NAME_WE)
  file(STRINGS ${file} lines REGEX "^(class |    def test_)")
  foreach(line IN LISTS lines)
    if(line MATCHES "^class ([A-Za-z0-9_]+)")
      set(class ${CMAKE_MATCH_1})
    elseif(line MATCHES "def (test_([A-Za-z0-9_]+))" AND (NOT ARG_CLASS OR class STREQUAL ARG_CLASS))
      set(name ${ARG_PREFIX}.${class}.${CMAKE_MATCH_2})
      add_test(NAME ${name}
        COMMAND ${Python3_EXECUTABLE} -B -m unittest -v ${module}.${class}.${CMAKE_MATCH_1}
        WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
      set_tests_properties(${name} PROPERTIES
        LABELS "${ARG_LABELS}" ENVIRONMENT "${ARG_ENVIRONMENT}" TIMEOUT ${ARG_TIMEOUT}
        SKIP_REGULAR_EXPRESSION "OK \\(skipped=1\\)")
    endif()
  endforeach()
endfunction()
