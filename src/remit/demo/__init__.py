"""The guided tour: five scenes on real servers, each of which asserts what it shows."""
