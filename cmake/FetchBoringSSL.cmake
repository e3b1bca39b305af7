# -DBORINGSSL_FETCH=ON: builds a pinned upstream commit of BoringSSL along with sluice.
# Without a network: -DFETCHCONTENT_SOURCE_DIR_BORINGSSL=DIR, a checkout of that commit.
# Makes the targets BoringSSL::SSL and BoringSSL::Crypto, and sets BoringSSL_API_VERSION.
include(FetchContent)
enable_language(CXX) # here, since the programs that link a C++ library are made in this directory and below

FetchContent_Declare(boringssl
  GIT_REPOSITORY https://boringssl.googlesource.com/boringssl
  GIT_TAG a0689af29e8e460f1e5380e0fb74cef1b342e810)

# The subdirectory inherits what is set here. Sluice's warnings are not BoringSSL's, a sanitizer has
# to see both, and neither its tests nor its files for installation are wanted.
function(_boringssl_add)
  get_directory_property(options COMPILE_OPTIONS)
  set(kept ${options})
  list(FILTER kept INCLUDE REGEX "^-f(no-)?sanitize")
  set_directory_properties(PROPERTIES COMPILE_OPTIONS "${kept}")
  set(BUILD_TESTING OFF)
  set(BUILD_SHARED_LIBS OFF)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW) # so that the two above hold
  add_subdirectory("${boringssl_SOURCE_DIR}" "${boringssl_BINARY_DIR}" EXCLUDE_FROM_ALL)
  set_directory_properties(PROPERTIES COMPILE_OPTIONS "${options}")
endfunction()

FetchContent_GetProperties(boringssl)
if(NOT boringssl_POPULATED)
  FetchContent_Populate(boringssl) # not _MakeAvailable: with CMake before 3.28 that installs it, too
  _boringssl_add()
  add_library(BoringSSL::Crypto ALIAS crypto)
  add_library(BoringSSL::SSL ALIAS ssl)
endif()
file(STRINGS "${boringssl_SOURCE_DIR}/include/openssl/base.h" _version
     REGEX "#define BORINGSSL_API_VERSION [0-9]+")
string(REGEX REPLACE ".*VERSION ([0-9]+).*" "\\1" BoringSSL_API_VERSION "${_version}")
message(STATUS "BoringSSL: API ${BoringSSL_API_VERSION}, built from ${boringssl_SOURCE_DIR}")
