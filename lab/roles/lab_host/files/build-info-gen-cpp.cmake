# Writes common/build-info.cpp from common/build-info.cpp.in.
#
# The engine's source as it is published in the Python source distribution lacks
# this script, and its build calls it: `cmake -D... -P <this file>`, from the top
# of the source tree. The build-info module beside the top-level CMakeLists.txt
# finds the commit and the compiler; only the placeholders are filled in here.

set(top "${CMAKE_CURRENT_LIST_DIR}/../..")
list(APPEND CMAKE_MODULE_PATH "${top}/cmake")
include(build-info)

# configure_file leaves an equal file untouched, so nothing is compiled again.
configure_file("${top}/common/build-info.cpp.in" "${top}/common/build-info.cpp" @ONLY)
